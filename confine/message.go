package confine

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxMessage bounds a message, in bytes. A report on a photo of a thousand faces
// has some 500 KB.
const maxMessage = 16 << 20

// The types of messages, first those of the parent.
const (
	msgStart  = "start"  // once: limits and what Options.Start holds
	msgCall   = "call"   // begin this
	msgCancel = "cancel" // end the call
	msgAnswer = "answer" // to a question
	msgHello  = "hello"  // once: the child is ready
	msgTell   = "tell"   // how far the call is
	msgAsk    = "ask"    // a question
	msgEnd    = "end"    // of the call, or of the start where that failed
)

// A message is one frame on a pipe: its length in four bytes, the highest
// first, and so many bytes of JSON.
type message struct {
	Type    string          `json:"type"`
	Call    uint64          `json:"call,omitempty"` // number of the call that it belongs to
	Ask     uint64          `json:"ask,omitempty"`  // number of the question, from 1
	Kind    string          `json:"kind,omitempty"` // of a call
	Body    json.RawMessage `json:"body,omitempty"`
	Failure *failure        `json:"failure,omitempty"` // in place of a body

	// Unfit ends the call and the child: it must not be used again.
	Unfit bool `json:"unfit,omitempty"`
}

// late tells of a message that was about an earlier call than that one.
func (m message) late(call uint64) bool { return m.Type == msgTell && m.Call < call }

// errTooLarge is a message that can't be sent.
var errTooLarge = fmt.Errorf("a message of more than %d MiB", maxMessage>>20)

// encode makes the frame of a message.
func encode(m message) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 4))
	if err := json.NewEncoder(&b).Encode(m); err != nil {
		return nil, fmt.Errorf("%s message: %w", m.Type, err)
	}
	n := b.Len() - 4
	if n > maxMessage {
		return nil, fmt.Errorf("%s message: %w", m.Type, errTooLarge)
	}
	frame := b.Bytes()
	binary.BigEndian.PutUint32(frame, uint32(n))
	return frame, nil
}

// decode reads one message. The error is io.EOF where the pipe ends between two
// messages. What is no message is an error before more is kept of it than has
// come.
func decode(r io.Reader) (message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return message{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxMessage {
		return message{}, fmt.Errorf("a frame of %d bytes, want 1 to %d", n, maxMessage)
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return message{}, err
	}
	var m message
	if err := json.Unmarshal(b.Bytes(), &m); err != nil {
		return message{}, fmt.Errorf("a frame that is no message: %w", err)
	}
	switch m.Type {
	case msgStart, msgCall, msgCancel, msgAnswer, msgHello, msgTell, msgAsk, msgEnd:
		return m, nil
	}
	return message{}, fmt.Errorf("a message of the unknown type %.40q", m.Type)
}
