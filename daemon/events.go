package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// eventEvery is the least time between two events.
	eventEvery = time.Second
	// maxWatchers bounds who is told at a time.
	maxWatchers = 32
	// eventWrite is how long one who is told may take to read an event.
	eventWrite = 10 * time.Second
	// maxEvent bounds what a client takes as one line, in bytes.
	maxEvent = 1 << 20
)

// ErrBusy is one watcher too many.
var ErrBusy = errors.New("too many are watching")

// Event is the daemon's work at a time.
type Event struct {
	Queue QueueInfo `json:"queue"`
	Work  []Work    `json:"work"` // by rising numbers, the first [DefaultPage]
}

// Work is a file in work. All but ID and Path is of videos only.
type Work struct {
	ID     int64   `json:"id"`
	Path   string  `json:"path"`
	Stage  string  `json:"stage,omitempty"` // plan, analyse, render or join
	Frames int64   `json:"frames,omitempty"`
	Total  int64   `json:"total,omitempty"` // frames; in plan and join its own units; 0 = unknown
	Faces  int64   `json:"faces,omitempty"`
	FPS    float64 `json:"fps,omitempty"` // 0 = unknown
	ETA    float64 `json:"eta,omitempty"` // seconds until the stage ends; 0 = unknown

	// Segments of the stage; 0 = it has none.
	Segments     int `json:"segments,omitempty"`
	SegmentsDone int `json:"segments_done,omitempty"`
}

// Watch tells what is in work, at once and then whenever it has changed, at most
// once a second, until ctx is done (nil) or tell returns an error, which is
// Watch's. [ErrBusy]: as many as there may be are watching.
func (c *Control) Watch(ctx context.Context, tell func(Event) error) error {
	if c.watchers.Add(1) > maxWatchers {
		c.watchers.Add(-1)
		return ErrBusy
	}
	defer c.watchers.Add(-1)
	tick := time.NewTicker(eventEvery)
	defer tick.Stop()
	var looks map[stepKey]seen
	var last []byte
	for {
		var e Event
		var err error
		if e, looks, err = c.event(ctx, looks); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if !bytes.Equal(data, last) {
			if err := tell(e); err != nil {
				return err
			}
			last = data
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// event looks at what is in work; looks are those before.
func (c *Control) event(ctx context.Context, looks map[stepKey]seen) (Event, map[stepKey]seen, error) {
	queue, err := c.Status(ctx)
	if err != nil {
		return Event{}, looks, err
	}
	running, err := c.queue.ledger.list(ctx, Running, 0, DefaultPage, false)
	if err != nil {
		return Event{}, looks, err
	}
	videos := map[int64]videoWork{}
	if c.queue.runner != nil {
		var works []videoWork
		works, looks = c.queue.runner.inWork(ctx, time.Now(), looks)
		for _, w := range works {
			videos[w.rec.ID] = w
		}
	}
	e := Event{Queue: queue, Work: []Work{}}
	for _, r := range running {
		v := videos[r.ID]
		e.Work = append(e.Work, Work{
			ID: r.ID, Path: r.Path, Stage: string(v.stage), Frames: v.sum.Frames, Total: v.sum.Total, Faces: v.sum.Faces,
			FPS: v.fps, ETA: v.eta.Seconds(), Segments: v.segments, SegmentsDone: v.done,
		})
	}
	return e, looks, nil
}

// serveEvents answers with server-sent events (HTML Standard, 9.2), each named
// status and an [Event].
func (c *Control) serveEvents(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	begun := false
	err := c.Watch(r.Context(), func(e Event) error {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if !begun {
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store")
			begun = true
		}
		if err := out.SetWriteDeadline(time.Now().Add(eventWrite)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "event: status\ndata: %s\n\n", data); err != nil {
			return err
		}
		return out.Flush()
	})
	if err != nil && !begun {
		reply(w, nil, err)
	}
}

// Watch is as Control's. It ends with an error when the daemon ends.
func (c *Client) Watch(ctx context.Context, tell func(Event) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://restored/v1/events", nil)
	if err != nil {
		return err
	}
	endless := &http.Client{Transport: c.http.Transport}
	resp, err := endless.Do(req)
	if err != nil {
		return fmt.Errorf("the daemon: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("the daemon's event: %w", err)
		}
		if err := tell(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the daemon has gone: %w", err)
}
