package proxy

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
)

// A WebSocket is opened by GET with Upgrade in HTTP/1.1 (RFC 6455) and by extended CONNECT in HTTP/2 (RFC
// 8441). In between the former's shape is used: the ends of HTTP/2 translate, and since there is no key in
// HTTP/2, whoever has to speak HTTP/1.1 makes one, or proves to have seen it.

// webSocketGUID is what RFC 6455 section 1.3 appends to a key.
const webSocketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// webSocket is the protocol that can be translated.
const webSocket = "websocket"

// isWebSocket reports whether a request, in HTTP/1.1's shape, asks for a WebSocket.
func isWebSocket(req *message.Request) bool {
	return message.EqualFold(req.Upgrade, []byte(webSocket)) && string(req.Method) == "GET"
}

// opens reports whether an answer with that status, which is not the switch of protocols, would all the same
// open the WebSocket of a client that asked for it by extended CONNECT: any 2xx does (RFC 9110 section 9.3.6),
// and its body would be taken for frames.
func (x *exchange) opens(status int) bool {
	return len(x.Request.Upgrade) > 0 && x.Request.Proto == message.HTTP2 && status >= 200 && status < 300
}

// addWebSocketKey gives the request a fresh key and returns it.
func addWebSocketKey(req *message.Request) []byte {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	key := base64.StdEncoding.AppendEncode(nil, random[:])
	req.Fields.SetID(message.SecWebSocketKey, key)
	if !req.Fields.Has(message.SecWebSocketVersion) {
		req.Fields.SetID(message.SecWebSocketVersion, []byte("13"))
	}
	return key
}

// webSocketAccept returns the proof of having seen key.
func webSocketAccept(key []byte) []byte {
	h := sha1.New()
	h.Write(key)
	h.Write([]byte(webSocketGUID))
	return base64.StdEncoding.AppendEncode(nil, h.Sum(nil))
}

// checkWebSocketAccept holds an answer of HTTP/1.1 against the key that was made here, and removes the
// proof.
func checkWebSocketAccept(key []byte, resp *message.Response) error {
	got, _ := resp.Fields.Get(message.SecWebSocketAccept)
	if !message.EqualFold(resp.Upgrade, []byte(webSocket)) || string(got) != string(webSocketAccept(key)) {
		return &http1.Error{Code: diag.UpstreamProtocolError, Detail: "the upstream answers 101 without having taken the WebSocket's key"}
	}
	resp.Fields.DelID(message.SecWebSocketAccept)
	return nil
}

// addWebSocketAccept gives an answer that came in HTTP/2 the proof that a client of HTTP/1.1 waits for.
func addWebSocketAccept(resp *message.Response, key []byte) {
	resp.Fields.SetID(message.SecWebSocketAccept, webSocketAccept(key))
}
