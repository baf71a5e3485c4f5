package confine

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A CrashError is the end of a child that gave no answer. It is about what was
// worked on: trying again gives the same.
type CrashError struct {
	Signal   syscall.Signal // that ended it; 0 = it left by itself
	ExitCode int            // where Signal is 0
	Memory   int64          // the limit in bytes over which it was killed; 0 = it was not
	Resident int64          // bytes that it held then
	Reason   string         // what else is known: a panic's message, what was wrong with an answer
	Function string         // native function in which it crashed, where that is known
	Output   []string       // its last words: at most 24 lines
	before   int            // how many of them came before the crash was told of
}

func (e *CrashError) Error() string {
	var b strings.Builder
	b.WriteString("the process that worked on it ")
	switch {
	case e.Memory > 0:
		fmt.Fprintf(&b, "was killed: it held %d MiB of memory, over the limit of %d MiB", e.Resident>>20, e.Memory>>20)
		return b.String()
	case e.Signal == 0:
		fmt.Fprintf(&b, "ended with exit code %d and no answer", e.ExitCode)
	case e.Signal == unix.SIGKILL && e.Reason == "":
		b.WriteString("was killed by SIGKILL (by the kernel for want of memory, or by somebody)")
	case e.Signal == unix.SIGKILL:
		b.WriteString("was killed")
	default:
		fmt.Fprintf(&b, "was killed by %s (a crash in a native library", unix.SignalName(e.Signal))
		if e.Function != "" {
			b.WriteString(", in " + e.Function)
		}
		b.WriteByte(')')
	}
	if e.Reason != "" {
		b.WriteString(": " + e.Reason)
	} else if e.before > 0 {
		b.WriteString("; its last words: " + strings.Join(e.Output[max(0, e.before-lastWords):e.before], " / "))
	}
	return b.String()
}

// Lines of what a child prints that are kept.
const (
	maxLine     = 1 << 10 // bytes of a line; the rest of it is dropped
	linesBefore = 8       // the last ones
	linesAfter  = 16      // from the one on that tells of a crash
	lastWords   = 3       // that the error's text has
)

// crashLine is how the Go runtime begins to tell of a crash, which it does
// before it leaves with code 2, for signals in native code too.
var crashLine = regexp.MustCompile(`^(?:(SIG[A-Z0-9]+): |\[signal (SIG[A-Z0-9]+): |panic: |fatal error: )`)

// nativeCall is a line of Go's stack for a call into C.
var nativeCall = regexp.MustCompile(`\._Cfunc_(\w+)\(`)

// chatter takes what a child prints: to the log, and the last of it is kept.
type chatter struct {
	log *slog.Logger

	mu     sync.Mutex
	part   []byte         // of a line
	before []string       // the last lines, up to what tells of a crash
	after  []string       // from there on
	signal syscall.Signal // that the child told of
	reason string         // as the child told it
	native string         // function
}

// Write takes everything, so that no child ever waits for it.
func (c *chatter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		c.part = append(c.part, line[:min(len(line), maxLine-len(c.part))]...)
		b = rest
		if whole {
			c.line(strings.ToValidUTF8(string(bytes.TrimRight(c.part, "\r")), "\uFFFD"))
			c.part = c.part[:0]
		}
	}
	return n, nil
}

func (c *chatter) line(s string) {
	if s == "" {
		return
	}
	c.log.DebugContext(context.Background(), "child prints", "line", s)
	if m := crashLine.FindStringSubmatch(s); m != nil {
		switch {
		case c.reason == "" && m[1]+m[2] == "":
			c.reason = s
		case c.signal == 0 && !strings.HasPrefix(c.reason, "panic: "):
			c.signal, c.reason = unix.SignalNum(m[1]+m[2]), ""
		}
	}
	if m := nativeCall.FindStringSubmatch(s); m != nil && c.native == "" {
		c.native = m[1]
	}
	switch {
	case c.signal == 0 && c.reason == "":
		if len(c.before) == linesBefore {
			c.before = c.before[1:]
		}
		c.before = append(c.before, s)
	case len(c.after) < linesAfter:
		c.after = append(c.after, s)
	}
}

// tell fills in what the child printed about its end.
func (c *chatter) tell(e *CrashError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.part) > 0 { // it ended in the middle of a line
		c.line(strings.ToValidUTF8(string(c.part), "\uFFFD"))
		c.part = nil
	}
	e.Output, e.before = slices.Concat(c.before, c.after), len(c.before)
	if e.Signal == 0 {
		e.Signal = c.signal
	}
	if e.Signal == 0 && e.Reason == "" {
		e.Reason = c.reason
	}
	if c.signal != 0 {
		e.Function = c.native
	}
}

// forget drops what was printed before a call.
func (c *chatter) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = nil
}
