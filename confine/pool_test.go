package confine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestDo(t *testing.T) {
	p := open(t, options(t, "serve"))
	if !strings.Contains(string(p.Hello()), `"model":"fake"`) {
		t.Errorf("hello %s", p.Hello())
	}
	body, err := p.Do(t.Context(), Call{Kind: "echo", Args: order{Text: "à la ligne\n"}})
	if err != nil || string(body) != `"à la ligne\n"` {
		t.Errorf("echo: %s, %v", body, err)
	}

	var told []string
	body, err = p.Do(t.Context(), Call{Kind: "tell", Args: order{N: 100}, Tell: func(b json.RawMessage) { told = append(told, string(b)) }})
	if err != nil || string(body) != "100" || len(told) < 100 || told[99] != "99" {
		t.Errorf("tell: %s, %v; told %q", body, err, told)
	}

	body, err = p.Do(t.Context(), Call{Kind: "ask", Args: order{Text: "may I?"}, Ask: func(_ context.Context, b json.RawMessage) (any, error) {
		return "yes to " + string(b), nil
	}})
	if err != nil || !strings.Contains(string(body), "may I?") {
		t.Errorf("ask: %s, %v", body, err)
	}
}

// One child serves what comes one after the other, and no more serve at a time
// than may be.
func TestChildrenAreReused(t *testing.T) {
	p := open(t, options(t, "serve"))
	pid := func() string {
		body, err := p.Do(t.Context(), Call{Kind: "pid", Args: order{}})
		if err != nil {
			t.Error(err)
		}
		return string(body)
	}
	first := pid()
	if again := pid(); again != first {
		t.Errorf("another process: %s after %s", again, first)
	}
	var seen sync.Map
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { seen.Store(pid(), true) })
	}
	all.Wait()
	n := 0
	seen.Range(func(any, any) bool { n++; return true })
	if n > 2 {
		t.Errorf("%d processes, want at most 2", n)
	}
}

// What a pool tells of its children is what they do.
func TestStats(t *testing.T) {
	p := open(t, options(t, "serve"))
	if s := p.Stats(); s.Idle != 1 || s.Busy != 0 || s.Started != 1 || s.Crashed != 0 || s.Memory <= 0 {
		t.Errorf("at first: %+v", s)
	}
	_, err := p.Do(t.Context(), Call{Kind: "ask", Args: order{Text: "now?"}, Ask: func(context.Context, json.RawMessage) (any, error) {
		if s := p.Stats(); s.Idle != 0 || s.Busy != 1 {
			t.Errorf("in a call: %+v", s)
		}
		return "", nil
	}})
	if err != nil {
		t.Error(err)
	}
	_, err = p.Do(t.Context(), Call{Kind: "exit", Args: order{N: 3}})
	var crash *CrashError
	if !errors.As(err, &crash) {
		t.Fatalf("crash: %v", err)
	}
	if s := p.Stats(); s.Crashed != tries || s.Started != 2 {
		t.Errorf("after a call that crashed its child each time: %+v", s)
	}
}

func TestWornChildrenLeave(t *testing.T) {
	o := options(t, "serve")
	o.Calls, o.Children = 2, 1
	p := open(t, o)
	pids := map[string]int{}
	for range 6 {
		body, err := p.Do(t.Context(), Call{Kind: "pid", Args: order{}})
		if err != nil {
			t.Fatal(err)
		}
		pids[string(body)]++
	}
	for pid, n := range pids {
		if n != 2 {
			t.Errorf("process %s served %d calls, want 2", pid, n)
		}
	}
}

// Errors are found again on this side by errors.Is.
func TestErrors(t *testing.T) {
	p := open(t, options(t, "serve"))
	answer := &fs.PathError{Op: "claim", Path: "x", Err: syscall.ENOSPC}
	for _, c := range []struct {
		kind string
		args order
		text string
		is   []error
		not  []error
	}{
		{"errno", order{File: "/no/such/file"}, "no such file", []error{fs.ErrNotExist, syscall.ENOENT, errForeign}, []error{fs.ErrExist, context.Canceled}},
		{"errno", order{File: "/"}, "is a directory", []error{syscall.EISDIR}, []error{syscall.ENOENT}},
		{"ask", order{}, "asked: claim x", []error{answer, syscall.ENOSPC}, []error{errForeign}},
		{"panic", order{Text: "oh"}, "internal error: oh", nil, nil},
		{"unfit", order{}, "GPU lost", nil, nil},
		{"big", order{N: maxMessage}, errTooLarge.Error(), nil, nil},
		{"echo", order{Text: strings.Repeat("x", maxMessage)}, errTooLarge.Error(), nil, nil},
		{"nonsense", order{}, "what is nonsense?", nil, nil},
	} {
		t.Run(c.kind, func(t *testing.T) {
			_, err := p.Do(t.Context(), Call{Kind: c.kind, Args: c.args, Ask: func(context.Context, json.RawMessage) (any, error) {
				return nil, answer
			}})
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v, want %q", err, c.text)
			}
			for _, want := range c.is {
				if !errors.Is(err, want) {
					t.Errorf("%v isn't %v", err, want)
				}
			}
			for _, bad := range c.not {
				if errors.Is(err, bad) {
					t.Errorf("%v is %v", err, bad)
				}
			}
			var crash *CrashError
			if errors.As(err, &crash) {
				t.Errorf("counts as a crash: %v", err)
			}
		})
	}
	if body, err := p.Do(t.Context(), Call{Kind: "echo", Args: order{Text: "on"}}); err != nil {
		t.Errorf("afterwards: %s, %v", body, err)
	}
}

// Every way in which a child can go wrong is an error of its call, of which
// nothing is left, and the next call is served.
func TestCrashes(t *testing.T) {
	o := options(t, "serve")
	o.Limits.Memory = 300 << 20
	p := open(t, o)
	for _, c := range []struct {
		kind   string
		args   order
		signal syscall.Signal
		want   []string
	}{
		{"signal", order{Signal: syscall.SIGSEGV}, syscall.SIGSEGV, []string{"killed by SIGSEGV (a crash in a native library)", "free(): invalid pointer"}},
		{"signal", order{Signal: syscall.SIGABRT}, syscall.SIGABRT, []string{"killed by SIGABRT"}},
		{"signal", order{Signal: syscall.SIGKILL}, syscall.SIGKILL, []string{"killed by SIGKILL (by the kernel"}},
		{"signal", order{Signal: syscall.SIGBUS}, syscall.SIGBUS, []string{"killed by SIGBUS"}},
		{"wild", order{}, 0, []string{"ended with exit code 2", "panic: in a goroutine of its own"}},
		{"exit", order{N: 3}, 0, []string{"ended with exit code 3 and no answer", "bye"}},
		{"exit", order{}, 0, []string{"ended with exit code 0 and no answer"}},
		{"eat", order{N: 200}, syscall.SIGKILL, []string{"over the limit of 300 MiB"}},
		{"garbage", order{Raw: []byte("\x00\x00\x00\x05hello")}, syscall.SIGKILL, []string{"it sent a frame that is no message"}},
		{"garbage", order{Raw: []byte("\xff\xff\xff\xff")}, syscall.SIGKILL, []string{"it sent a frame of 4294967295 bytes"}},
		{"garbage", order{Raw: []byte("\x00\x00\x00\x1c" + `{"type":"tell","call":10000}`)}, syscall.SIGKILL, []string{"doesn't belong there"}},
		{"garbage", order{Raw: []byte("\x00\x00\x00\x10" + `{"type":"hello"}`)}, syscall.SIGKILL, []string{"a hello message"}},
		{"deaf", order{}, syscall.SIGKILL, []string{"killed"}},
	} {
		t.Run(fmt.Sprint(c.kind, c.args.N, int(c.args.Signal)), func(t *testing.T) {
			left := 0
			_, err := p.Do(t.Context(), Call{Kind: c.kind, Args: c.args, Left: func(tag string) { left++ }})
			var crash *CrashError
			if !errors.As(err, &crash) || crash.Signal != c.signal {
				t.Fatalf("error %v (%+v), want signal %v", err, crash, c.signal)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error()+strings.Join(crash.Output, "\n"), want) {
					t.Errorf("error %q, output %q; want %q", err, crash.Output, want)
				}
			}
			if left != tries {
				t.Errorf("Left was called %d times, want %d", left, tries)
			}
			if body, err := p.Do(t.Context(), Call{Kind: "echo", Args: order{Text: "on"}}); err != nil {
				t.Errorf("afterwards: %s, %v", body, err)
			}
		})
	}
}

// What crashes a child by bad luck is done by the next.
func TestCrashOnce(t *testing.T) {
	p := open(t, options(t, "serve"))
	var left string
	body, err := p.Do(t.Context(), Call{
		Kind: "once", Args: order{File: filepath.Join(t.TempDir(), "mark"), Signal: syscall.SIGSEGV},
		Left: func(tag string) { left = tag },
	})
	if err != nil || len(body) < 5 || left == "" || string(body) == `"`+left+`"` {
		t.Errorf("%s, %v; left %q", body, err, left)
	}
}

// A child that died while nobody looked costs no try.
func TestIdleChildDies(t *testing.T) {
	p := open(t, options(t, "serve"))
	p.idle[0].kill()
	<-p.idle[0].gone
	body, err := p.Do(t.Context(), Call{Kind: "echo", Args: order{Text: "on"}})
	if err != nil {
		t.Errorf("%s, %v", body, err)
	}
}

func TestCancel(t *testing.T) {
	p := open(t, options(t, "serve"))
	for _, c := range []struct {
		kind string
		want string
		left int
	}{
		{"obey", "stopped", 0},
		{"hang", "killed, because it did not stop within 200ms", 1},
	} {
		t.Run(c.kind, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			left := 0
			begin := time.Now()
			_, err := p.Do(ctx, Call{Kind: c.kind, Args: order{}, Left: func(string) { left++ }, Tell: func(json.RawMessage) {
				begin = time.Now()
				cancel()
			}})
			if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), c.want) || left != c.left {
				t.Errorf("error %v, left %d; want %q, %d", err, left, c.want, c.left)
			}
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("took %s", d)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.Do(ctx, Call{Kind: "hang", Args: order{}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after a timeout: %v", err)
	}
	if _, err := p.Do(ctx, Call{Kind: "echo", Args: order{}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// A panic in a function of the caller takes its child with it, and no more.
func TestCallerPanics(t *testing.T) {
	o := options(t, "serve")
	o.Children = 1
	p := open(t, o)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, err := p.Do(t.Context(), Call{Kind: "obey", Args: order{}, Tell: func(json.RawMessage) { panic("oh") }})
		t.Error(err)
	}()
	if body, err := p.Do(t.Context(), Call{Kind: "echo", Args: order{Text: "on"}}); err != nil {
		t.Errorf("afterwards: %s, %v", body, err)
	}
}

// A call that waits for a child gives up when its context ends.
func TestCancelWaiting(t *testing.T) {
	o := options(t, "serve")
	o.Children = 1
	p := open(t, o)
	busy, free := context.WithCancel(t.Context())
	working := make(chan struct{})
	var once sync.Once
	var all sync.WaitGroup
	all.Go(func() {
		_, err := p.Do(busy, Call{Kind: "obey", Args: order{}, Tell: func(json.RawMessage) { once.Do(func() { close(working) }) }})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-working
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.Do(ctx, Call{Kind: "echo", Args: order{}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	free()
	all.Wait()
}

func TestFlood(t *testing.T) {
	p := open(t, options(t, "serve"))
	body, err := p.Do(t.Context(), Call{Kind: "flood", Args: order{N: 2000}})
	if err != nil || string(body) != `"done"` {
		t.Errorf("%s, %v", body, err)
	}
}

func TestOutputLimit(t *testing.T) {
	o := options(t, "serve")
	o.Limits.Output = 1 << 20
	p := open(t, o)
	file := filepath.Join(t.TempDir(), "f")
	if _, err := p.Do(t.Context(), Call{Kind: "write", Args: order{File: file, N: 1 << 20}}); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	_, err := p.Do(t.Context(), Call{Kind: "write", Args: order{File: file, N: 2 << 20}})
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("over it: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() > 1<<20 {
		t.Errorf("%d bytes were written, %v", info.Size(), err)
	}
}

func TestStartFails(t *testing.T) {
	for _, c := range []struct {
		how, fail, want string
	}{
		{"serve", "no model", "no model: no such file"},
		{"exit", "", "exit code 7"},
		{"crash", "", "SIGSEGV"},
		{"mute", "", "not ready within 300ms"},
	} {
		t.Run(c.how, func(t *testing.T) {
			o := options(t, c.how)
			o.Start = fakeStart{Fail: c.fail}
			o.StartTimeout = 30 * time.Second
			if c.how == "mute" {
				o.StartTimeout = 300 * time.Millisecond
			}
			_, err := Open(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			noChildren(t)
		})
	}
	o := options(t, "serve")
	o.Command = []string{"/no/such/file", "x"}
	if _, err := Open(t.Context(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a command that isn't there: %v", err)
	}
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Error("no options at all are taken")
	}
}

// Where no further child can be started, the call isn't to blame.
func TestStartFailsLater(t *testing.T) {
	o := options(t, "once")
	o.Calls = 1
	o.Env = append(o.Env, "TEST_CONFINE_FIRST="+filepath.Join(t.TempDir(), "mark"))
	p := open(t, o)
	if _, err := p.Do(t.Context(), Call{Kind: "echo", Args: order{}}); err != nil {
		t.Fatal(err)
	}
	_, err := p.Do(t.Context(), Call{Kind: "echo", Args: order{}})
	if !errors.Is(err, ErrStart) {
		t.Errorf("error %v, want %v", err, ErrStart)
	}
}

func TestClose(t *testing.T) {
	p := open(t, options(t, "serve"))
	ctx, cancel := context.WithCancel(t.Context())
	var ended atomic.Bool
	var all sync.WaitGroup
	working := make(chan struct{})
	all.Go(func() {
		_, err := p.Do(ctx, Call{Kind: "obey", Args: order{}, Tell: func(json.RawMessage) { close(working) }})
		ended.Store(true)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-working
	all.Go(func() {
		closePool(t, p)
		if !ended.Load() {
			t.Error("closed while a call ran")
		}
	})
	cancel()
	all.Wait()
	if _, err := p.Do(t.Context(), Call{Kind: "echo", Args: order{}}); err == nil {
		t.Error("a closed pool takes a call")
	}
}
