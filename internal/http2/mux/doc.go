// Package mux drives one HTTP/2 connection in either role (RFC 9113): it reads frames, keeps the state of
// streams and windows, and writes what all streams have ready in one Write a turn. Above it are streams
// with a blocking API; below it are a net.Conn and the codec of package http2.
//
// What a peer may do to us is bounded here: each kind of flood has a budget, a code and a GOAWAY
// (DESIGN.md has the table). It knows no route, no upstream and no policy, and owns no clock but for the
// deadlines it sets on its connection.
//
// Begin reading at Conn.Serve; streams are in receive.go and send.go, the writer in write.go, budgets in
// flood.go.
package mux
