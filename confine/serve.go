package confine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The child's files.
const (
	callsFile   = 3
	answersFile = 4
)

// exitOrphan is the exit code of a child whose parent went while it worked.
const exitOrphan = 4

// ErrNoParent is returned by Serve in a process that no Pool has started.
var ErrNoParent = errors.New("this command is started by restored itself, not by hand")

// Start is what a child gets to know at its start.
type Start struct {
	Tag  string          // its name; what it makes and would leave behind in a crash should bear it
	Body json.RawMessage // Options.Start
}

// start is Start on its way.
type start struct {
	Tag    string          `json:"tag"`
	Limits Limits          `json:"limits"`
	Grace  time.Duration   `json:"grace"`
	Body   json.RawMessage `json:"body"`
}

// A Service does the work in a child: one call at a time.
type Service interface {
	// Do does what kind and args say and returns the result, which is
	// marshalled as JSON. It must return soon after ctx is done. A panic is an
	// error of this call, and the child's last.
	Do(ctx context.Context, kind string, args json.RawMessage, parent *Parent) (any, error)
	Close() error
}

// Opener makes the Service of a child. What it says of itself, hello, is
// marshalled as JSON and is [Pool.Hello] of the first one.
type Opener func(ctx context.Context, s Start) (service Service, hello any, err error)

// Serve is a child's whole life: it sets the limits, opens the Service, and
// serves calls until the parent closes the pipe. The parent alone stops it:
// SIGINT, SIGTERM and SIGHUP are ignored, so that what is in work is finished
// when a service manager signals them all.
func Serve(known Known, open Opener) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	calls, err := pipe(callsFile, "calls")
	if err != nil {
		return err
	}
	defer calls.Close()
	answers, err := pipe(answersFile, "answers")
	if err != nil {
		return err
	}
	defer answers.Close()
	s := &server{in: bufio.NewReader(calls), out: answers, known: known.all(), calls: make(chan message)}
	return s.serve(open)
}

// pipe takes one of the files that a parent hands down.
func pipe(fd int, name string) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, ErrNoParent
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name), nil
}

// A server is the child's end of the pipes.
type server struct {
	in    *bufio.Reader
	known Known
	calls chan message // closed when the parent has gone

	write sync.Mutex
	out   io.Writer

	mu        sync.Mutex // guards what follows
	call      uint64     // the one begun last
	cancel    context.CancelFunc
	cancelled uint64 // may come before the call is begun
	asked     uint64
	waiting   chan message // for the answer to the last question
}

func (s *server) serve(open Opener) error {
	m, err := decode(s.in)
	if err == nil && m.Type != msgStart {
		err = fmt.Errorf("a %s message at first", m.Type)
	}
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	var st start
	if err := json.Unmarshal(m.Body, &st); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		s.listen()
		cancel()
		close(s.calls)
		// What is stuck in native code doesn't hear of it.
		time.AfterFunc(st.Grace, func() { os.Exit(exitOrphan) })
	}()
	err = st.Limits.apply()
	var service Service
	var hello any
	if err == nil {
		service, hello, err = open(ctx, Start{Tag: st.Tag, Body: st.Body})
	}
	if err != nil {
		return errors.Join(err, s.send(message{Type: msgEnd, Failure: failureOf(err, s.known)}))
	}
	body, err := json.Marshal(hello)
	if err == nil {
		err = s.send(message{Type: msgHello, Body: body})
	}
	if err != nil {
		return errors.Join(err, service.Close())
	}
	for m := range s.calls {
		if err = s.do(ctx, service, m); err != nil {
			break
		}
	}
	return errors.Join(err, service.Close())
}

// listen passes on what the parent sends, until it has gone.
func (s *server) listen() {
	for {
		m, err := decode(s.in)
		if err != nil {
			return
		}
		switch m.Type {
		case msgCall:
			s.calls <- m
		case msgCancel:
			s.mu.Lock()
			s.cancelled = m.Call
			if m.Call == s.call {
				s.cancel()
			}
			s.mu.Unlock()
		case msgAnswer:
			s.mu.Lock()
			if m.Call == s.call && m.Ask == s.asked && s.waiting != nil {
				s.waiting <- m // has room
				s.waiting = nil
			}
			s.mu.Unlock()
		}
	}
}

func (s *server) send(m message) error {
	frame, err := encode(m)
	if err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	_, err = s.out.Write(frame)
	return err
}

// do serves one call. The error is one of the pipe, and the last.
func (s *server) do(ctx context.Context, service Service, m message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.call, s.cancel, s.asked = m.Call, cancel, 0
	if s.cancelled == m.Call {
		cancel()
	}
	s.mu.Unlock()
	value, err := work(ctx, service, m, &Parent{s: s, call: m.Call})
	end := message{Type: msgEnd, Call: m.Call}
	if err == nil {
		end.Body, err = json.Marshal(value)
	}
	var unfit *unfitError
	var panicked *panicError
	if err != nil {
		end.Body, end.Failure = nil, failureOf(err, s.known)
		end.Unfit = errors.As(err, &unfit) || errors.As(err, &panicked)
	}
	if err = s.send(end); errors.Is(err, errTooLarge) {
		err = fmt.Errorf("the result: %w", err)
		err = s.send(message{Type: msgEnd, Call: m.Call, Failure: failureOf(err, s.known)})
	}
	return err
}

// work calls the Service; a panic becomes an error.
func work(ctx context.Context, service Service, m message, p *Parent) (value any, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return service.Do(ctx, m.Kind, m.Body, p)
}

// panicError is a panic of a Service.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("internal error: %v", e.value) }

// Parent is, in a child, who called.
type Parent struct {
	s    *server
	call uint64
	one  sync.Mutex // question at a time
}

// Tell says how far the call is.
func (p *Parent) Tell(body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return p.s.send(message{Type: msgTell, Call: p.call, Body: data})
}

// Ask puts a question and waits for the answer. The error is the parent's, and
// should stay in the chain of the call's.
func (p *Parent) Ask(ctx context.Context, body any) (json.RawMessage, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	p.one.Lock()
	defer p.one.Unlock()
	s, answer := p.s, make(chan message, 1)
	s.mu.Lock()
	s.asked++
	n := s.asked
	s.waiting = answer
	s.mu.Unlock()
	if err := s.send(message{Type: msgAsk, Call: p.call, Ask: n, Body: data}); err != nil {
		return nil, err
	}
	select {
	case m := <-answer:
		if m.Failure != nil {
			return nil, &answerError{n, m.Failure.error(s.known, nil)}
		}
		return m.Body, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
