package http2

import (
	"encoding/binary"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// SettingID names a setting (RFC 9113 section 6.5.2).
type SettingID uint16

// Settings. Others are legal and passed over.
const (
	SettingHeaderTableSize      SettingID = 0x1
	SettingEnablePush           SettingID = 0x2
	SettingMaxConcurrentStreams SettingID = 0x3
	SettingInitialWindowSize    SettingID = 0x4
	SettingMaxFrameSize         SettingID = 0x5
	SettingMaxHeaderListSize    SettingID = 0x6
	SettingEnableConnect        SettingID = 0x8 // RFC 8441: extended CONNECT
)

// Setting is one setting as it is sent.
type Setting struct {
	ID    SettingID
	Value uint32
}

const settingSize = 6

// Settings are those of one peer.
type Settings struct {
	HeaderTable   uint32 // bytes of the table that the peer decodes with
	MaxStreams    uint32 // streams that we may have open; no limit is 2^32-1
	InitialWindow uint32 // bytes of a new stream's window, at most MaxWindow
	MaxFrame      uint32 // bytes of payload that the peer takes
	MaxHeaderList uint32 // bytes of a list of fields that the peer takes; no limit is 2^32-1
	EnableConnect bool   // the peer takes extended CONNECT
}

// DefaultSettings returns what holds before the first SETTINGS arrive.
func DefaultSettings() Settings {
	const unlimited = 1<<32 - 1
	return Settings{HeaderTable: DefaultHeaderTable, MaxStreams: unlimited, InitialWindow: DefaultWindow, MaxFrame: DefaultMaxFrame, MaxHeaderList: unlimited}
}

// Update applies the payload of SETTINGS without ACK, in its order. fromServer says that the peer is
// the server, which must not enable push. After an error, which is one of the connection, part of the
// payload has been applied.
func (s *Settings) Update(payload []byte, fromServer bool) error {
	for ; len(payload) >= settingSize; payload = payload[settingSize:] {
		v := binary.BigEndian.Uint32(payload[2:])
		switch SettingID(binary.BigEndian.Uint16(payload)) {
		case SettingHeaderTableSize:
			s.HeaderTable = v
		case SettingEnablePush:
			if v > 1 || v == 1 && fromServer {
				return protocolError(0, "SETTINGS_ENABLE_PUSH of a value that is not allowed")
			}
		case SettingMaxConcurrentStreams:
			s.MaxStreams = v
		case SettingInitialWindowSize:
			if v > MaxWindow {
				return &Error{diag.HTTP2FlowControl, FlowControlError, 0, "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1"}
			}
			s.InitialWindow = v
		case SettingMaxFrameSize:
			if v < DefaultMaxFrame || v > LargestFrame {
				return protocolError(0, "SETTINGS_MAX_FRAME_SIZE outside 2^14 to 2^24-1")
			}
			s.MaxFrame = v
		case SettingMaxHeaderListSize:
			s.MaxHeaderList = v
		case SettingEnableConnect:
			if v > 1 || v == 0 && s.EnableConnect {
				return protocolError(0, "SETTINGS_ENABLE_CONNECT_PROTOCOL of a value that is not allowed")
			}
			s.EnableConnect = v == 1
		}
	}
	return nil
}
