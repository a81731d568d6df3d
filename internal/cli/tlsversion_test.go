package cli

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// gateway is a running process that only its admin API pretends.
type gateway struct {
	floors  []admin.ChainStatus
	changes []admin.TLSChange
	refuse  error
	before  string // what the scope of a change had of its own
}

func (g *gateway) Status() admin.Status {
	return admin.Status{Version: "0", Listeners: []admin.ListenerStatus{{ListenerResult: ir.ListenerResult{Name: "*:443", Address: "127.0.0.1:1"}, TLS: true, Chains: g.floors}}}
}
func (g *gateway) Health() admin.Health     { return admin.Health{Live: true, Ready: true} }
func (g *gateway) Dump(string) (any, error) { return map[string]string{"a": "b"}, nil }
func (g *gateway) Explain(_ context.Context, id string) (json.RawMessage, bool) {
	return json.RawMessage(`{"requests":[{"id":"r1","method":"GET","scheme":"https","host":"a.test","target":"/x","status":502,"dur_ms":1.5,"code":"HK3101","reason":"upstream_unknown_ca","detail":"the issuer is strange"}]}`), id == "r1"
}
func (g *gateway) Metrics() http.Handler { return http.NotFoundHandler() }
func (g *gateway) Reload()               {}
func (g *gateway) SetTLSVersion(_ context.Context, c admin.TLSChange) (admin.TLSChanged, error) {
	g.changes = append(g.changes, c)
	if g.refuse != nil {
		return admin.TLSChanged{}, g.refuse
	}
	for i := range g.floors {
		if c.MinVersion != "" && c.Host == "" && (c.Listener == "" || strings.HasPrefix(g.floors[i].Name+"/", c.Listener+"/")) {
			g.floors[i].MinVersion = c.MinVersion
		}
	}
	return admin.TLSChanged{File: "/etc/hakone/hakone-managed.yaml", Before: g.before, Status: g.Status()}, nil
}

// serve answers as a running process where commands look for one.
func (g *gateway) serve(t *testing.T, access admin.Access, tcp bool) {
	t.Helper()
	alone(t)
	address := "unix:" + filepath.Join(t.TempDir(), "admin.sock")
	if tcp {
		address = "127.0.0.1:0"
	}
	ln, err := admin.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	if tcp {
		address = ln.Addr().String()
	}
	t.Setenv("HAKONE_ADMIN", address)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- admin.NewServer(g, access, slog.New(slog.DiscardHandler)).Serve(ctx, ln) }()
	t.Cleanup(func() { stop(); <-done })
}

func chain(name, floor string, hosts ...string) admin.ChainStatus {
	return admin.ChainStatus{Name: name, Hosts: hosts, MinVersion: floor, MaxVersion: "1.3"}
}

func TestTLSVersionShow(t *testing.T) {
	for _, c := range []struct {
		name   string
		floors []admin.ChainStatus
		args   string
		want   string
	}{
		{"one floor", []admin.ChainStatus{chain("d/g/a", "1.1", "a.test"), chain("d/g/b", "1.1", "b.test")}, "", "TLS minimum version is 1.1\n"},
		{"no TLS", nil, "", "No listener terminates TLS\n"},
		{"two floors", []admin.ChainStatus{chain("d/g/a", "1.2", "a.test"), chain("d/g/b", "1.1", "b.test")}, "",
			"TLS minimum versions differ between listeners; the lowest is 1.1\nLISTENER  HOST    MINIMUM  MAXIMUM\nd/g/a     a.test  1.2      1.3\nd/g/b     b.test  1.1      1.3\n"},
		{"a host of its own", []admin.ChainStatus{{Name: "d/g/a", Hosts: []string{"*.test"}, MinVersion: "1.2", MaxVersion: "1.3", HostFloors: []admin.HostTLS{{Host: "a.test", MinVersion: "1.3"}}}}, "",
			"TLS minimum versions differ between listeners; the lowest is 1.2\nLISTENER  HOST    MINIMUM  MAXIMUM\nd/g/a     a.test  1.3      1.3\nd/g/a     *.test  1.2      1.3\n"},
		{"asked for rows", []admin.ChainStatus{chain("d/g/a", "1.2", "a.test")}, "--per-listener", "TLS minimum version is 1.2\nLISTENER  HOST    MINIMUM  MAXIMUM\nd/g/a     a.test  1.2      1.3\n"},
		{"JSON", []admin.ChainStatus{chain("d/g/a", "1.2", "a.test")}, "-o json", "[\n  {\n    \"listener\": \"d/g/a\",\n    \"host\": \"a.test\",\n    \"minVersion\": \"1.2\",\n    \"maxVersion\": \"1.3\"\n  }\n]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			(&gateway{floors: c.floors}).serve(t, admin.Access{}, false)
			if r := run(t, "", append([]string{"tls-version", "show"}, strings.Fields(c.args)...)...); r.code != ExitOK || r.out != c.want {
				t.Errorf("exit %d %s\n%s\nwant\n%s", r.code, r.err, r.out, c.want)
			}
		})
	}
}

func TestOtherSpellingOfTLSVersion(t *testing.T) {
	g := &gateway{floors: []admin.ChainStatus{chain("d/g/a", "1.1", "a.test")}, before: "1.1"}
	g.serve(t, admin.Access{}, false)
	for _, args := range [][]string{{"service", "tls_version", "--tls-min-version", "show"}, {"service", "tls_version"}} {
		if r := run(t, "", args...); r.out != "TLS minimum version is 1.1\n" {
			t.Errorf("%v: %+v", args, r)
		}
	}
	r := run(t, "y\n", "service", "tls_version", "--tls-min-version", "1.2", "--no-probe")
	for _, want := range []string{"Enabling TLSv1.2 will disable TLSv1.1 and below\n", "Do you want to continue? [y/N]: ", "WARNING: Enabling TLSv1.2", "tlspolicy.hakone.dev patched", "undo: hakone tls-version set 1.1\n"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in\n%s", want, r.out)
		}
	}
	if r.code != ExitOK || len(g.changes) != 1 || g.changes[0] != (admin.TLSChange{MinVersion: "1.2"}) {
		t.Errorf("exit %d, %+v", r.code, g.changes)
	}
}

func TestTLSVersionSetAsks(t *testing.T) {
	for _, c := range []struct {
		name, answer, args string
		code, changes      int
	}{
		{"yes", "y\n", "", ExitOK, 1},
		{"Yes", "YES\n", "", ExitOK, 1},
		{"no", "n\n", "", ExitFailed, 0},
		{"nothing", "\n", "", ExitFailed, 0},
		{"something", "yess\n", "", ExitFailed, 0},
		{"end of input", "", "", ExitFailed, 0},
		{"without a line end", "y", "", ExitOK, 1},
		{"flag", "", "--yes", ExitOK, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &gateway{floors: []admin.ChainStatus{chain("d/g/a", "1.2", "a.test")}}
			g.serve(t, admin.Access{}, false)
			r := run(t, c.answer, append([]string{"tls-version", "set", "1.3", "--no-probe"}, strings.Fields(c.args)...)...)
			if r.code != c.code || len(g.changes) != c.changes {
				t.Errorf("exit %d, %d changes: %s%s", r.code, len(g.changes), r.out, r.err)
			}
			if c.changes == 0 && !strings.Contains(r.err, "Nothing was changed") {
				t.Errorf("%q", r.err)
			}
			if asked := strings.Contains(r.out, "Do you want to continue?"); asked != (c.args == "") {
				t.Errorf("asked: %v", asked)
			}
		})
	}
}

func TestLoweringIsCalledDangerous(t *testing.T) {
	for floor, want := range map[string][]string{
		"1.2": {"DANGER: lowering the minimum from TLSv1.3 to TLSv1.2 weakens"},
		"1.0": {"DANGER: lowering the minimum from TLSv1.3 to TLSv1.0 weakens", "RFC 8996", "MD5 and SHA-1", "--host"},
	} {
		g := &gateway{floors: []admin.ChainStatus{chain("d/g/a", "1.3", "a.test")}}
		g.serve(t, admin.Access{}, false)
		r := run(t, "n\n", "tls-version", "set", floor)
		for _, w := range want {
			if !strings.Contains(r.out, w) {
				t.Errorf("%s: %q is missing in %s", floor, w, r.out)
			}
		}
		if strings.Contains(r.out, "RFC 8996") != (floor == "1.0") || strings.Contains(r.out, "will disable") {
			t.Errorf("%s: %s", floor, r.out)
		}
	}
}

func TestTLSVersionSetScope(t *testing.T) {
	two := []admin.ChainStatus{chain("d/g/a", "1.2", "a.test"), chain("d/g/b", "1.1", "b.test")}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"1.3 --listener d/g/a", ExitOK, "undo: hakone tls-version unset --listener d/g/a\n"},
		{"1.3 --host a.test", ExitOK, "undo: hakone tls-version unset --host 'a.test'\n"},
		{"1.2 --listener d/g/a", ExitOK, "TLS minimum version is 1.2 already\n"},
		{"1.3 --listener d/h", ExitUsage, "no TLS listener or host matches listener d/h"},
		{"1.3 --host c.test", ExitUsage, "no TLS listener or host matches host c.test"},
		{"1.3 --host a.test --listener d/g/b", ExitUsage, "host a.test on d/g/b"},
		{"1.3", ExitOK, "undo: hakone tls-version unset\n"},
	} {
		g := &gateway{floors: append([]admin.ChainStatus(nil), two...)}
		g.serve(t, admin.Access{}, false)
		r := run(t, "", append([]string{"tls-version", "set", "--yes", "--no-probe"}, strings.Fields(c.args)...)...)
		if r.code != c.code || !strings.Contains(r.out+r.err, c.want) {
			t.Errorf("%s: %+v, want %q", c.args, r, c.want)
		}
	}
}

func TestRefusedChangeShowsTheObject(t *testing.T) {
	g := &gateway{floors: []admin.ChainStatus{chain("d/g/a", "1.2", "a.test")}}
	g.refuse = &admin.Problem{Status: 409, Code: diag.ReadOnlyFolder, Title: "the folder cannot be written", Fix: "apply it", Object: "kind: TLSPolicy\n"}
	g.serve(t, admin.Access{}, false)
	r := run(t, "", "tls-version", "set", "1.3", "--yes")
	if want := "Apply this object by other means:\nkind: TLSPolicy\n\nerror: the folder cannot be written (" + diag.ReadOnlyFolder.String() + ")\n  fix:   apply it\n"; r.code != ExitFailed || r.err != want {
		t.Errorf("exit %d\n%s\nwant\n%s", r.code, r.err, want)
	}
}

func TestUnauthorised(t *testing.T) {
	g := &gateway{floors: []admin.ChainStatus{chain("d/g/a", "1.2", "a.test")}}
	g.serve(t, admin.Access{Tokens: map[string]string{"v": "viewer", "o": "operator"}}, true)
	set := []string{"tls-version", "set", "1.3", "--yes", "--no-probe"}
	if r := run(t, "", "status"); r.code != ExitUnauthorized || !strings.Contains(r.err, "a token or client certificate is needed") {
		t.Errorf("%+v", r)
	}
	t.Setenv("HAKONE_TOKEN", "v")
	if r := run(t, "", "status"); r.code != ExitOK {
		t.Errorf("%+v", r)
	}
	if r := run(t, "", set...); r.code != ExitUnauthorized || len(g.changes) != 0 {
		t.Errorf("%+v", r)
	}
	t.Setenv("HAKONE_TOKEN", "o")
	if r := run(t, "", set...); r.code != ExitOK {
		t.Errorf("%+v", r)
	}
}

func TestReadingCommands(t *testing.T) {
	g := &gateway{floors: []admin.ChainStatus{chain("d/g/a", "1.2", "a.test", "b.test", "c.test", "d.test")}}
	g.serve(t, admin.Access{}, false)
	for _, c := range []struct{ args, want string }{
		{"status", "a.test,b.test,c.test and 1 more"},
		{"status -o json", `"version": "0"`},
		{"status -o yaml", "version: \"0\"\n"},
		{"dump", "a: b\n"},
		{"dump certs -o json", "{\n  \"a\": \"b\"\n}\n"},
		{"explain r1", "  because   HK3101 upstream_unknown_ca: the issuer is strange\n"},
		{"explain r1", "HK3101 "}, // what the code means follows
		{"explain r1 -o json", `"id": "r1"`},
	} {
		if r := run(t, "", strings.Fields(c.args)...); r.code != ExitOK || !strings.Contains(r.out, c.want) {
			t.Errorf("%s: %+v, want %q", c.args, r, c.want)
		}
	}
	if r := run(t, "", "explain", "r2"); r.code != ExitFailed || !strings.Contains(r.err, `no record of "r2"`) {
		t.Errorf("%+v", r)
	}
}

// The undo line restores what the scope had of its own, and never lowers a neighbour.
func TestTLSVersionUnset(t *testing.T) {
	g := &gateway{floors: []admin.ChainStatus{chain("d/g/a", "1.3", "a.test")}, before: "1.3"}
	g.serve(t, admin.Access{}, false)
	if r := run(t, "n\n", "tls-version", "unset"); r.code != ExitFailed || len(g.changes) != 0 {
		t.Errorf("no: %+v", r)
	}
	r := run(t, "y\n", "tls-version", "unset", "--no-probe")
	if r.code != ExitOK || !strings.Contains(r.out, "tlspolicy.hakone.dev removed from") || !strings.Contains(r.out, "undo: hakone tls-version set 1.3\n") {
		t.Errorf("yes: %+v", r)
	}
	if len(g.changes) != 1 || g.changes[0] != (admin.TLSChange{}) {
		t.Errorf("asked for %+v", g.changes)
	}
	g.before = ""
	if r := run(t, "", "tls-version", "unset", "--yes"); r.code != ExitOK || !strings.Contains(r.out, "No minimum was set") {
		t.Errorf("nothing to remove: %+v", r)
	}
}
