package confine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a Pool.
type Options struct {
	// Command is the file to execute, then the arguments from the zeroth on.
	// Self is this program.
	Command []string
	Env     []string // of the children; nil = this process's
	Start   any      // is given to each child at its start, as JSON
	Limits  Limits

	Children int // at a time; at least 1
	// Calls is how many calls a child serves before a fresh one takes its
	// place; 0 = any number.
	Calls int
	// Grace is how long a cancelled call may take to end before its child is
	// killed; 0 = 1.5 s, so that all is over within two.
	Grace time.Duration
	// StartTimeout is how long a child may take to be ready; 0 = 5 minutes.
	StartTimeout time.Duration
	Known        Known // errors to be found again by errors.Is; the same as in Serve
	Log          *slog.Logger
}

const (
	defaultGrace        = 1500 * time.Millisecond
	defaultStartTimeout = 5 * time.Minute
	// tries is how often a call is begun whose child crashes.
	tries = 2
)

// Self is the file of this program, also where another one has been put in
// its place.
const Self = "/proc/self/exe"

// ErrStart marks the error of a call for which no child could be started. It is
// not about the call.
var ErrStart = errors.New("no process to work in")

// errClosed is the use of a closed Pool.
var errClosed = errors.New("confine: the pool is closed")

// A Call is a piece of work for a child. Its functions are called one at a time
// while Do runs.
type Call struct {
	Kind string // the Service knows what it means
	Name string // of the file, for the log
	Args any    // marshalled as JSON
	// Tell takes how far the call is; nil = nobody wants to know. It must
	// return soon.
	Tell func(body json.RawMessage)
	// Ask answers the child's questions. Its error goes to the child, and is
	// in the chain of the call's error if it is in that of the child's.
	Ask func(ctx context.Context, body json.RawMessage) (any, error)
	// Left is called after a child has crashed or was killed in this call. The
	// child knew its tag and has marked with it what is now to be removed.
	Left func(tag string)
}

// A Pool has children for calls. It is safe for many goroutines; at most
// Options.Children of them are served at a time and the others wait.
type Pool struct {
	o       Options
	welcome json.RawMessage
	known   Known
	slots   chan struct{} // one token for each child that may be

	forks   chan func() // run on one thread, see forker
	forker  sync.WaitGroup
	running sync.WaitGroup // what belongs to children

	hello   json.RawMessage
	closing chan struct{} // closed by Close
	close   sync.Once

	started, crashed atomic.Int64

	mu     sync.Mutex
	idle   []*child // the one that worked last at the end
	living map[*child]struct{}
}

// Open makes a Pool and starts its first child, so that a faulty set-up shows:
// the error is then what the child's opening of its Service returned.
func Open(ctx context.Context, o Options) (*Pool, error) {
	if len(o.Command) < 2 || o.Children < 1 || o.Log == nil {
		return nil, errors.New("confine: Command, Children and Log are needed")
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = defaultStartTimeout
	}
	start, err := json.Marshal(o.Start)
	if err != nil {
		return nil, fmt.Errorf("confine: start: %w", err)
	}
	p := &Pool{o: o, welcome: start, known: o.Known.all(), slots: make(chan struct{}, o.Children),
		forks: make(chan func()), closing: make(chan struct{}), living: map[*child]struct{}{}}
	p.forker.Go(p.forkOnOneThread)
	c, err := p.start(ctx)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.hello = c.hello
	p.idle = append(p.idle, c)
	return p, nil
}

// forkOnOneThread starts the processes. The kernel sends a child its
// parent-death signal when the thread that made it ends, so that this one
// thread must live as long as the Pool.
func (p *Pool) forkOnOneThread() {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	for f := range p.forks {
		f()
	}
}

// fork calls start on the thread for it.
func (p *Pool) fork(start func() error) (err error) {
	done := make(chan struct{})
	p.forks <- func() { err = start(); close(done) }
	<-done
	return err
}

// Hello is what the first child said of itself.
func (p *Pool) Hello() json.RawMessage { return p.hello }

// Do has a child do the call and returns its result. A call whose child
// crashes is begun once more in a fresh one, and then fails with a *CrashError.
// When ctx ends the child is told, and killed if the call hasn't ended within
// Options.Grace; Do returns when nothing works on it any more.
func (p *Pool) Do(ctx context.Context, call Call) (json.RawMessage, error) {
	args, err := json.Marshal(call.Args)
	if err != nil {
		return nil, fmt.Errorf("confine: arguments: %w", err)
	}
	select {
	case p.slots <- struct{}{}:
	case <-p.closing:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var c *child
	fit := false // also where a function of the call panics
	defer func() { p.put(c, fit) }()
	for try := 1; ; try++ {
		if c, err = p.take(ctx); err != nil {
			return nil, err
		}
		log := p.o.Log.With("child", c.tag, "call", call.Kind, "file", call.Name)
		var body json.RawMessage
		body, fit, err = p.work(ctx, c, call, args, log)
		var crash *CrashError
		crashed := errors.As(err, &crash)
		if crashed {
			p.crashed.Add(1)
		}
		if !crashed || try == tries || ctx.Err() != nil {
			return body, err
		}
		log.WarnContext(ctx, "child crashed; the call is begun once more", "error", err, "output", crash.Output)
	}
}

// take gives an idle child or a fresh one.
func (p *Pool) take(ctx context.Context) (*child, error) {
	for {
		c := p.pop()
		if c == nil {
			break
		}
		if c.quiet() {
			return c, nil
		}
		p.o.Log.WarnContext(ctx, "idle child ended", "child", c.tag, "error", c.crash(p.o.Log))
	}
	c, err := p.start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	return c, nil
}

// pop takes the idle child that worked last; nil = there is none.
func (p *Pool) pop() *child {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return c
}

// put gives back a child, if there is one, and its slot. A child that isn't fit
// any more leaves.
func (p *Pool) put(c *child, fit bool) {
	if c == nil {
		<-p.slots
		return
	}
	worn := p.o.Calls > 0 && c.calls >= p.o.Calls ||
		c.memory > 0 && resident(c.pid) > (c.resident+c.memory)/2
	if fit && !worn {
		p.mu.Lock()
		p.idle = append(p.idle, c)
		p.mu.Unlock()
		<-p.slots
		return
	}
	// The call needn't wait for its end, but the next child must.
	p.running.Go(func() {
		c.leave(p.o.Grace, p.o.Log)
		<-p.slots
	})
}

// Stats are a Pool's children, and how many there were.
type Stats struct {
	Idle, Busy       int   // those that come and go are busy
	Started, Crashed int64 // a crash while idle doesn't count
	Memory           int64 // bytes that they hold together
}

// Stats looks at the children as they are now.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Idle: len(p.idle), Busy: len(p.living) - len(p.idle), Started: p.started.Load(), Crashed: p.crashed.Load()}
	for c := range p.living {
		s.Memory += resident(c.pid)
	}
	return s
}

// Close lets the children go and waits for them. Calls that still run are
// waited for; later ones fail.
func (p *Pool) Close() error {
	first := false
	p.close.Do(func() { close(p.closing); first = true })
	if !first {
		return nil
	}
	for range p.o.Children { // calls, and children on their way out
		p.slots <- struct{}{}
	}
	for c := p.pop(); c != nil; c = p.pop() {
		p.running.Go(func() { c.leave(p.o.Grace, p.o.Log) })
	}
	ended := make(chan struct{})
	go func() {
		p.running.Wait()
		close(p.forks)
		p.forker.Wait()
		close(ended)
	}()
	limit := time.NewTimer(p.o.Grace + 2*reapTimeout)
	defer limit.Stop()
	select {
	case <-ended:
		return nil
	case <-limit.C:
		return errors.New("confine: a killed process doesn't end")
	}
}

// newTag is a name that no other child has, on whatever machine.
func newTag() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return "c" + hex.EncodeToString(b[:])
}
