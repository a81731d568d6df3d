package overload

import "log/slog"

// Level is how short the process is of what bounds it. Each level asks for what the lower ones do, too.
type Level int32

// Levels, with the part of the bound at which they begin. They end five points lower.
const (
	Calm     Level = iota
	Thrifty        // 85 %: answers end their connection, idle connections are closed, the longest idle first
	Refusing       // 92 %: no new connection (memory) and no new request is admitted
	Cutting        // 98 %: what holds most is cut
)

// String returns the word for logs and metrics.
func (l Level) String() string {
	switch l {
	case Calm:
		return "calm"
	case Thrifty:
		return "thrifty"
	case Refusing:
		return "refusing"
	}
	return "cutting"
}

// slack is how far below its beginning a level ends, as part of the bound. never is a part that no
// resource reaches.
const (
	slack = 0.05
	never = 1 << 20
)

// The measured resources.
const (
	memory = iota
	connections
	handshakes
	resources
)

// meter is one resource with its level.
type meter struct {
	name        string
	enter       [3]float64 // part of the bound at which Thrifty, Refusing, Cutting begin
	used, bound uint64
	level, told Level
}

// set takes a measurement. A bound of zero is none.
func (m *meter) set(used, bound uint64) {
	m.used, m.bound = used, bound
	m.level = m.next()
}

// next returns the level that follows from the measurement and the level before: up at once, down only
// when it is well below where the level began, so that it does not flicker.
func (m *meter) next() Level {
	if m.bound == 0 {
		return Calm
	}
	part := float64(m.used) / float64(m.bound)
	level := Calm
	for i, enter := range m.enter {
		l := Level(i + 1)
		if part >= enter || l <= m.level && part >= enter-slack {
			level = l
		}
	}
	return level
}

// tell logs a change of level once.
func (m *meter) tell(log *slog.Logger) {
	if m.level == m.told {
		return
	}
	args := []any{"resource", m.name, "level", m.level.String(), "before", m.told.String(), "used", m.used, "bound", m.bound}
	if m.told = m.level; m.level == Calm {
		log.Info("overload is over", args...)
	} else {
		log.Warn("overload", args...)
	}
}
