package confine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// work has the child do the call. fit tells whether the child can do another.
func (p *Pool) work(ctx context.Context, c *child, call Call, args json.RawMessage, log *slog.Logger) (body json.RawMessage, fit bool, err error) {
	c.calls++
	c.printed.forget()
	x := exchange{c: c, call: call, n: uint64(c.calls), log: log, known: p.known, answers: map[uint64]error{}}
	body, fit, err = x.run(ctx, args, p.o.Grace)
	if !x.ended && call.Left != nil {
		call.Left(c.tag)
	}
	return body, fit, err
}

// An exchange is one call between parent and child.
type exchange struct {
	c       *child
	call    Call
	n       uint64
	log     *slog.Logger
	known   Known
	answers map[uint64]error
	ended   bool // the child said so itself
}

func (x *exchange) run(ctx context.Context, args json.RawMessage, grace time.Duration) (json.RawMessage, bool, error) {
	if err := x.c.send(message{Type: msgCall, Call: x.n, Kind: x.call.Kind, Body: args}); err != nil {
		if errors.Is(err, errTooLarge) {
			x.ended = true // it was never begun
			return nil, true, err
		}
		return nil, false, x.c.crash(x.log)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	kill := time.NewTimer(time.Hour)
	kill.Stop()
	defer kill.Stop()
	done := ctx.Done()
	for {
		select {
		case m, ok := <-x.c.from:
			if ok && m.Call == x.n && m.Type == msgEnd {
				return x.end(m)
			}
			if ok && m.Call == x.n && x.take(ctx, m) || ok && m.late(x.n) {
				continue
			}
			if ok {
				x.c.blame(fmt.Errorf("a %s message that doesn't belong there", m.Type))
			}
			err := x.c.crash(x.log)
			if ctx.Err() != nil {
				err = fmt.Errorf("%w (%w)", ctx.Err(), err)
			}
			return nil, false, err
		case <-tick.C:
			x.c.watch()
		case <-done:
			done = nil
			kill.Reset(grace)
			_ = x.c.send(message{Type: msgCancel, Call: x.n}) // else it is killed
		case <-kill.C:
			x.c.end(x.log)
			x.log.WarnContext(ctx, "child killed: it did not stop", "waited", grace.String())
			return nil, false, fmt.Errorf("killed, because it did not stop within %s: %w", grace, ctx.Err())
		}
	}
}

// take handles a message in the middle of a call; false: it doesn't belong there.
func (x *exchange) take(ctx context.Context, m message) bool {
	switch m.Type {
	case msgTell:
		if x.call.Tell != nil {
			x.call.Tell(m.Body)
		}
		return true
	case msgAsk:
		answer := message{Type: msgAnswer, Call: x.n, Ask: m.Ask}
		value, err := x.ask(ctx, m.Body)
		if err == nil {
			answer.Body, err = json.Marshal(value)
		}
		if err != nil {
			x.answers[m.Ask] = err
			answer.Failure = failureOf(err, x.known)
		}
		if x.c.send(answer) != nil {
			x.c.kill() // its end tells more
		}
		return true
	}
	return false
}

func (x *exchange) ask(ctx context.Context, body json.RawMessage) (any, error) {
	if x.call.Ask == nil {
		return nil, errors.New("confine: nobody answers questions of this call")
	}
	return x.call.Ask(ctx, body)
}

// end takes the child's last word on the call.
func (x *exchange) end(m message) (json.RawMessage, bool, error) {
	x.ended = true
	if m.Failure == nil {
		return m.Body, !m.Unfit, nil
	}
	if m.Failure.Stack != "" {
		x.log.Error("panic in a child", "error", m.Failure.Text, "stack", m.Failure.Stack)
	}
	return nil, !m.Unfit, m.Failure.error(x.known, x.answers)
}
