package confine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// asChild makes the test binary be a child whose Service is a fake. Its value
// says how it starts.
const asChild = "TEST_CONFINE_CHILD"

func TestMain(m *testing.M) {
	if how := os.Getenv(asChild); how != "" {
		os.Exit(beChild(how))
	}
	if os.Getenv(asParent) != "" {
		os.Exit(beParent())
	}
	goleak.VerifyTestMain(m)
}

var errForeign = errors.New("not ours")

var known = Known{"foreign": errForeign}

// fakeStart is what the tests' children are given.
type fakeStart struct {
	Fail string `json:"fail,omitempty"` // the error of opening
}

func beChild(how string) int {
	switch how {
	case "exit":
		return 7
	case "mute":
		signal.Notify(make(chan os.Signal, 1)) // else Go calls it a deadlock
		select {}
	}
	err := serveFake(how)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveFake(how string) error {
	return Serve(known, func(_ context.Context, s Start) (Service, any, error) {
		var st fakeStart
		if err := json.Unmarshal(s.Body, &st); err != nil {
			return nil, nil, err
		}
		switch {
		case how == "crash":
			raise(syscall.SIGSEGV)
		case how == "once" && !first(os.Getenv("TEST_CONFINE_FIRST")):
			raise(syscall.SIGSEGV)
		case st.Fail != "":
			return nil, nil, fmt.Errorf("%s: %w", st.Fail, syscall.ENOENT)
		}
		return fake{s.Tag}, map[string]any{"model": "fake", "pid": os.Getpid()}, nil
	})
}

// first tells whether this is the first call with the file, in whatever process.
func first(file string) bool {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// raise sends this process a signal as a crash in C does: nothing of Go's runs
// any more.
func raise(s syscall.Signal) {
	if err := unix.Kill(os.Getpid(), s); err != nil {
		panic(err)
	}
	select {}
}

// fake is a Service that does as its arguments say.
type fake struct{ tag string }

type order struct {
	Text   string         `json:"text,omitempty"`
	N      int            `json:"n,omitempty"`
	Signal syscall.Signal `json:"signal,omitempty"`
	File   string         `json:"file,omitempty"`
	Raw    []byte         `json:"raw,omitempty"`
}

func (f fake) Do(ctx context.Context, kind string, args json.RawMessage, p *Parent) (any, error) {
	var o order
	if err := json.Unmarshal(args, &o); err != nil {
		return nil, err
	}
	switch kind {
	case "echo":
		return o.Text, nil
	case "pid":
		return os.Getpid(), nil
	case "tell":
		for i := range o.N {
			if err := p.Tell(i); err != nil {
				return nil, err
			}
		}
		go func() { _ = p.Tell("late") }()
		return o.N, nil
	case "ask":
		answer, err := p.Ask(ctx, o.Text)
		if err != nil {
			return nil, fmt.Errorf("asked: %w", err)
		}
		return answer, nil
	case "big":
		return strings.Repeat("x", o.N), nil
	case "errno":
		_, err := os.ReadFile(o.File)
		return nil, fmt.Errorf("read: %w", errors.Join(err, errForeign))
	case "unfit":
		return nil, Unfit(errors.New("GPU lost"))
	case "panic":
		panic(o.Text)
	case "obey":
		_ = p.Tell("working")
		<-ctx.Done()
		return nil, fmt.Errorf("stopped: %w", ctx.Err())
	case "hang":
		_ = p.Tell("working")
		select {}
	case "write":
		return nil, os.WriteFile(o.File, make([]byte, o.N), 0o600)
	}
	return f.misbehave(kind, o, p)
}

// misbehave doesn't return.
func (f fake) misbehave(kind string, o order, p *Parent) (any, error) {
	switch kind {
	case "signal":
		fmt.Fprintln(os.Stderr, "free(): invalid pointer")
		raise(o.Signal)
	case "once": // crashes in the first child only
		if first(o.File) {
			raise(o.Signal)
		}
		return f.tag, nil
	case "wild":
		go func() { panic("in a goroutine of its own") }()
		select {}
	case "exit":
		fmt.Fprint(os.Stderr, "bye")
		os.Exit(o.N)
	case "eat":
		var all [][]byte
		for {
			b := make([]byte, 16<<20)
			for i := 0; i < len(b); i += os.Getpagesize() {
				b[i] = 1
			}
			all = append(all, b)
			if len(all) > o.N {
				return nil, errors.New("not killed")
			}
		}
	case "garbage":
		_, _ = unix.Write(answersFile, o.Raw)
		select {}
	case "deaf": // closes its pipe and goes on
		_ = unix.Close(answersFile)
		select {}
	case "flood":
		line := []byte(strings.Repeat("noise ", 2000))
		for range o.N {
			_, _ = os.Stderr.Write(line)
			_, _ = os.Stdout.WriteString("\n")
		}
		return "done", nil
	}
	return nil, fmt.Errorf("what is %s?", kind)
}

func (fake) Close() error { return nil }

// neverEnds is the context of a process that is killed.
var neverEnds = context.Background()

// quietOptions are those of a Pool of fakes that logs nothing.
func quietOptions() Options {
	return Options{
		Command: []string{Self, "confine-child"}, Env: append(os.Environ(), asChild+"=serve"),
		Start: fakeStart{}, Children: 2, Grace: 200 * time.Millisecond, Known: known,
		Log: slog.New(slog.DiscardHandler),
	}
}

func options(t testing.TB, how string) Options {
	o := quietOptions()
	o.Env = append(os.Environ(), asChild+"="+how)
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	return o
}

// open makes a Pool, at whose end no process may be left.
func open(t testing.TB, o Options) *Pool {
	t.Helper()
	p, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePool(t, p) })
	return p
}

func closePool(t testing.TB, p *Pool) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	noChildren(t)
}

// noChildren fails if this process has a child, alive or zombie.
func noChildren(t testing.TB) {
	t.Helper()
	pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
	if !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: wait4 gives %d, %v", pid, err)
	}
}
