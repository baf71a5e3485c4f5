package confine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// watchEvery is how often the memory of a working child is looked at.
	watchEvery = 50 * time.Millisecond
	// sendTimeout is how long a child may take to read a message.
	sendTimeout = 5 * time.Second
	// reapTimeout is how long a killed child may take to end. One that the
	// kernel holds, on a disk or share that doesn't answer, takes longer.
	reapTimeout = 5 * time.Second
)

// A child is a process as its parent sees it. All but the goroutines that start
// makes belongs to whoever has taken it from the pool.
type child struct {
	cmd      *exec.Cmd
	tag      string
	pid      int
	memory   int64 // limit; 0 = none
	to       *os.File
	from     chan message // closed when no more will come
	dropped  chan struct{}
	drop     sync.Once
	gone     chan struct{} // closed when the process has ended and all it printed is read
	printed  *chatter
	hello    json.RawMessage
	resident int64 // bytes that it held when it was ready
	calls    int

	mu     sync.Mutex // guards reaped, so that no other process is killed
	reaped bool

	over    atomic.Int64          // bytes for which it was killed
	garbage atomic.Pointer[error] // what it sent that is no message
}

// start makes a process; it isn't ready before ready has returned.
func (p *Pool) start(ctx context.Context) (*child, error) {
	begin := time.Now()
	calls, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, answers, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, calls.Close(), to.Close())
	}
	c := &child{
		tag: newTag(), memory: p.o.Limits.Memory, to: to,
		from: make(chan message), dropped: make(chan struct{}), gone: make(chan struct{}),
	}
	c.cmd = exec.Command(p.o.Command[0])
	c.cmd.Args = p.o.Command[1:]
	c.cmd.Env = p.o.Env
	c.cmd.ExtraFiles = []*os.File{calls, answers}
	c.printed = &chatter{log: p.o.Log.With("child", c.tag)}
	c.cmd.Stdout, c.cmd.Stderr = c.printed, c.printed
	c.cmd.WaitDelay = time.Second // what it left running may hold its output open
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err = p.fork(c.cmd.Start); err != nil {
		return nil, errors.Join(err, calls.Close(), to.Close(), from.Close(), answers.Close())
	}
	err = errors.Join(calls.Close(), answers.Close())
	c.pid = c.cmd.Process.Pid
	p.started.Add(1)
	p.mu.Lock()
	p.living[c] = struct{}{}
	p.mu.Unlock()
	p.running.Go(func() {
		c.wait()
		p.mu.Lock()
		delete(p.living, c)
		p.mu.Unlock()
	})
	p.running.Go(func() { c.read(from) })
	if err == nil {
		err = c.ready(ctx, p)
	}
	if err != nil {
		c.end(p.o.Log)
		return nil, err
	}
	p.o.Log.DebugContext(ctx, "child started", "child", c.tag, "pid", c.pid, "milliseconds", time.Since(begin).Milliseconds())
	return c, nil
}

// wait waits for the process and for all that it prints.
func (c *child) wait() {
	defer close(c.gone)
	// Its group is killed while the process is a zombie: until it is reaped, no
	// other group can have its number.
	for unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		continue
	}
	c.mu.Lock()
	_ = unix.Kill(-c.pid, unix.SIGKILL)
	c.reaped = true
	c.mu.Unlock()
	_ = c.cmd.Wait() // crash tells of it
}

// kill ends the process and its group, now. It may be called at any time.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		_ = unix.Kill(-c.pid, unix.SIGKILL)
	}
}

// read passes on the messages until the pipe ends.
func (c *child) read(from *os.File) {
	defer from.Close()
	defer close(c.from)
	// When the process has ended the pipe ends too, unless something that it
	// left behind holds it.
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-c.gone:
			_ = from.SetReadDeadline(time.Now().Add(time.Second))
		case <-stop:
		}
	}()
	r := bufio.NewReader(from)
	for {
		m, err := decode(r)
		if err != nil {
			// A pipe that just ends, in the middle of a frame too, is a crash.
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
				c.blame(err)
			}
			return
		}
		select {
		case c.from <- m:
		case <-c.dropped:
			return
		}
	}
}

// send writes a message. A child that doesn't read is as one that has crashed.
func (c *child) send(m message) error {
	frame, err := encode(m)
	if err != nil {
		return err
	}
	if err := c.to.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if _, err = c.to.Write(frame); errors.Is(err, os.ErrDeadlineExceeded) {
		c.blame(fmt.Errorf("nothing, nor did it read a %s message within %s", m.Type, sendTimeout))
	}
	return err
}

// blame notes what was wrong with what the child sent; the first is kept.
func (c *child) blame(err error) { c.garbage.CompareAndSwap(nil, &err) }

// ready brings a fresh child to where it takes calls.
func (c *child) ready(ctx context.Context, p *Pool) error {
	body, err := json.Marshal(start{Tag: c.tag, Limits: p.o.Limits, Grace: p.o.Grace, Body: p.welcome})
	if err != nil {
		return err
	}
	// Where it doesn't even take this, its end says more than the pipe.
	_ = c.send(message{Type: msgStart, Body: body})
	ctx, cancel := context.WithTimeout(ctx, p.o.StartTimeout)
	defer cancel()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case m, ok := <-c.from:
			switch {
			case ok && m.Type == msgHello:
				c.hello = m.Body
				c.resident = resident(c.pid)
				return nil
			case ok && m.Type == msgEnd && m.Failure != nil:
				return m.Failure.error(p.known, nil)
			}
			return c.crash(p.o.Log)
		case <-tick.C:
			c.watch()
		case <-ctx.Done():
			return fmt.Errorf("it was not ready within %s: %w", p.o.StartTimeout, ctx.Err())
		}
	}
}

// quiet tells whether an idle child is there and says nothing.
func (c *child) quiet() bool {
	for {
		select {
		case m, ok := <-c.from:
			if !ok || !m.late(uint64(c.calls)+1) {
				return false
			}
		default:
			return true
		}
	}
}

// watch kills a child that holds too much memory.
func (c *child) watch() {
	if c.memory <= 0 {
		return
	}
	if n := resident(c.pid); n > c.memory && c.over.CompareAndSwap(0, n) {
		c.kill()
	}
}

// crash ends the child, which has sent its last message or one that is none,
// and tells how it ended.
func (c *child) crash(log *slog.Logger) error {
	e := &CrashError{}
	if err := c.garbage.Load(); err != nil {
		e.Reason = "it sent " + (*err).Error()
	}
	if !c.end(log) {
		return e // of which nothing more is known
	}
	state := c.cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal()
	} else {
		e.ExitCode = state.ExitCode()
	}
	if n := c.over.Load(); n > 0 {
		e.Memory, e.Resident = c.memory, n
	}
	c.printed.tell(e)
	return e
}

// end kills the child and waits; it reports whether it is gone. It is idempotent.
func (c *child) end(log *slog.Logger) bool {
	c.kill()
	c.drop.Do(func() { close(c.dropped); _ = c.to.Close() })
	limit := time.NewTimer(reapTimeout)
	defer limit.Stop()
	select {
	case <-c.gone:
		return true
	case <-limit.C:
		log.Error("killed child doesn't end: a disk or share that doesn't answer?", "child", c.tag, "pid", c.pid)
		return false
	}
}

// leave lets an idle child go; one that doesn't within grace is killed.
func (c *child) leave(grace time.Duration, log *slog.Logger) {
	_ = c.to.Close()
	limit := time.NewTimer(grace)
	defer limit.Stop()
	select {
	case <-c.gone:
	case <-limit.C:
	}
	c.end(log)
}
