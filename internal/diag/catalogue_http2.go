package diag

// HTTP/2 connections of clients (43xx), overload (44xx).
const (
	HTTP2ProtocolError  Code = 4301
	HTTP2RapidReset     Code = 4302
	HTTP2ControlFlood   Code = 4303
	HTTP2HeaderFlood    Code = 4304
	HTTP2FlowControl    Code = 4305
	HTTP2Compression    Code = 4306
	HTTP2SettingsWait   Code = 4307
	HTTP2StreamLimit    Code = 4308
	HTTP2TinyWindow     Code = 4309
	HTTP2FrameSize      Code = 4310
	HTTP2PingTimeout    Code = 4311
	HTTP2PrefaceMissing Code = 4312

	OverloadMemory      Code = 4401
	OverloadConnections Code = 4402
	OverloadAddress     Code = 4403
	OverloadHandshakes  Code = 4404
)

func http2Codes() []Entry {
	return []Entry{
		{HTTP2ProtocolError, "http2_protocol_error", Error, "client broke the rules of HTTP/2",
			"A frame came where or as RFC 9113 forbids it; the connection was ended with GOAWAY, or, where only a stream was at fault, that stream with RST_STREAM.", "Correct the client; the log line's detail names the frame.", 0},
		{HTTP2RapidReset, "http2_rapid_reset", Error, "client resets streams as fast as it opens them",
			"More requests were cancelled than --http2-reset-burst and --http2-reset-rate allow (CVE-2023-44487); the connection was ended with GOAWAY ENHANCE_YOUR_CALM.", "If the client is honest, make it cancel less, or raise --http2-reset-burst.", 0},
		{HTTP2ControlFlood, "http2_control_flood", Error, "client floods the connection with frames that carry nothing",
			"More PING, SETTINGS, PRIORITY, RST_STREAM, empty DATA or unknown frames came than --http2-control-burst and --http2-control-rate allow; the connection was ended with GOAWAY ENHANCE_YOUR_CALM.", "If the client is honest, raise --http2-control-burst.", 0},
		{HTTP2HeaderFlood, "http2_header_flood", Error, "header block longer than the bound",
			"HEADERS and CONTINUATION together exceed what a head may take, or come in empty pieces; the connection was ended with GOAWAY ENHANCE_YOUR_CALM (CVE-2024-27316).", "Send smaller heads, or raise --max-request-header.", 0},
		{HTTP2FlowControl, "http2_flow_control", Error, "client sent more than its window, or overflowed ours",
			"DATA beyond the granted window, or WINDOW_UPDATE beyond 2^31-1 (RFC 9113 section 6.9.1); the connection was ended with GOAWAY FLOW_CONTROL_ERROR, or the stream at fault with RST_STREAM.", "Correct the client's flow control.", 0},
		{HTTP2Compression, "http2_compression", Error, "header block cannot be decoded",
			"The HPACK block is invalid (RFC 7541), so both sides' tables differ from here on; the connection was ended with GOAWAY COMPRESSION_ERROR.", "Correct the client.", 0},
		{HTTP2SettingsWait, "http2_settings_timeout", Error, "client did not acknowledge our SETTINGS",
			"No SETTINGS with ACK came within --header-timeout; the connection was ended with GOAWAY SETTINGS_TIMEOUT.", "Correct the client.", 0},
		{HTTP2StreamLimit, "http2_stream_limit", Warning, "client opened more streams than it may",
			"The streams beyond SETTINGS_MAX_CONCURRENT_STREAMS were refused with RST_STREAM REFUSED_STREAM; a client may repeat them.", "Make the client respect the setting, or raise --http2-max-streams.", 0},
		{HTTP2TinyWindow, "http2_tiny_window", Error, "client makes us send tiny DATA frames",
			"The client's windows allowed only a few bytes per DATA frame, over and over; the connection was ended with GOAWAY ENHANCE_YOUR_CALM.", "Make the client grant larger windows.", 0},
		{HTTP2FrameSize, "http2_frame_size", Error, "frame of a size that is not allowed",
			"A frame exceeds SETTINGS_MAX_FRAME_SIZE (16,384) or is shorter than its type demands (RFC 9113 section 4.2); the connection was ended with GOAWAY FRAME_SIZE_ERROR, or the stream at fault with RST_STREAM.", "Correct the client.", 0},
		{HTTP2PingTimeout, "http2_ping_timeout", Warning, "client did not answer PING",
			"The connection was silent, and no answer to our PING came within --http2-ping-timeout; the client is taken for gone.", "Look at the network path; raise --http2-ping-timeout for very slow ones.", 0},
		{HTTP2PrefaceMissing, "http2_preface_missing", Error, "client negotiated h2 and speaks something else",
			"ALPN chose h2, but the connection does not begin with the preface of RFC 9113 section 3.4; the connection was closed.", "Make the client speak HTTP/2, or not offer h2 in ALPN.", 0},
		{OverloadMemory, "overload_memory", Error, "shed: memory is at its bound",
			"What connections and requests hold has reached --max-memory; new ones are refused and the longest idle connections are closed until it falls. A new request is answered; a new connection is closed without an answer.", "Raise --max-memory, lower --max-connections, or add an instance.", 503},
		{OverloadConnections, "overload_connections", Error, "shed: connections of all listeners are at their bound",
			"The process has as many downstream connections as --max-total-connections allows; the new one was closed without an answer.", "Raise the flag and the limit of file descriptors, or add an instance.", 0},
		{OverloadAddress, "overload_address", Warning, "shed: one address holds too many connections",
			"The client's address (IPv4 address, IPv6 /64) has as many connections as --max-connections-per-address allows; the new one was closed without an answer.", "If it is a proxy or NAT in front, name it in --trusted-proxies or raise the flag.", 0},
		{OverloadHandshakes, "overload_handshakes", Error, "shed: too many handshakes at once",
			"More handshakes wait for their turn than --max-handshakes allows; the connection was closed without an answer.", "Raise the flag, add cores, or make clients resume sessions.", 0},
	}
}
