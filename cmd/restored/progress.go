package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"restored/pipeline"
)

// A progress shows how far a run is: a bar on a terminal, and where there is
// none a line each half minute besides those that are printed. Its methods but
// video are called one at a time.
type progress struct {
	w    io.Writer
	bars *mpb.Progress // nil: no terminal
	bar  *mpb.Bar
	name atomic.Value // string: the file that was finished last

	done, total int
	told        time.Time // the last line about done
}

func newProgress(w io.Writer, total int) *progress {
	p := &progress{w: w, total: total, told: time.Now()}
	if !drawable(w) {
		return p
	}
	p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
	p.bar = p.bars.AddBar(int64(total),
		mpb.PrependDecorators(decor.CountersNoUnit("%d/%d", decor.WCSyncSpace)),
		mpb.AppendDecorators(
			decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace),
			decor.Any(func(decor.Statistics) string { name, _ := p.name.Load().(string); return "  " + name }),
		))
	return p
}

// printable replaces what could steer a terminal: names of files are foreign.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n': // between joined errors
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

// step counts one file as finished.
func (p *progress) step(name string) {
	p.done++
	if p.bar != nil {
		p.name.Store(printable(name))
		p.bar.Increment()
		return
	}
	if time.Since(p.told) >= tellEvery {
		p.told = time.Now()
		fmt.Fprintf(p.w, "%d of %d files\n", p.done, p.total)
	}
}

// lines is where others print lines above the bar.
func (p *progress) lines() io.Writer {
	if p.bars != nil {
		return p.bars
	}
	return p.w
}

// println prints a line above the bar.
func (p *progress) println(line string) {
	fmt.Fprintln(p.lines(), printable(line))
}

// A videoBar shows how far one video is: both passes over its pictures, pictures
// a second, faces, time left. Where there is no terminal a line is printed each half minute.
type videoBar struct {
	p     *progress
	name  string
	bar   *mpb.Bar
	mu    sync.Mutex
	last  pipeline.VideoProgress
	since time.Time // of the pass
	base  int64     // pictures that were done when the pass began
	told  time.Time
}

// tellEvery is the time between two lines about a video where there is no bar.
const tellEvery = 30 * time.Second

func (p *progress) video(name string) *videoBar {
	v := &videoBar{p: p, name: printable(name), told: time.Now()}
	if p.bars != nil {
		v.bar = p.bars.AddBar(0,
			mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return "  " + v.name })),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
				v.mu.Lock()
				defer v.mu.Unlock()
				return v.text()
			})))
	}
	return v
}

// text says what is known of the pass. The caller holds mu.
func (v *videoBar) text() string {
	l := v.last
	switch l.Pass {
	case "":
		return "plan"
	case "plan":
		return fmt.Sprintf("plan %d %%", 100*l.Frames/max(l.Total, 1))
	}
	rate := float64(l.Frames-v.base) / time.Since(v.since).Seconds()
	left := "?"
	if rate > 0 {
		left = time.Duration(float64(l.Total-l.Frames) / rate * float64(time.Second)).Round(time.Second).String()
	}
	return fmt.Sprintf("%s %d/%d pictures, %.1f a second, %d faces, %s left", l.Pass, l.Frames, l.Total, rate, l.Faces, left)
}

// tell takes the progress of the video.
func (v *videoBar) tell(l pipeline.VideoProgress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if l.Pass != v.last.Pass {
		v.since, v.base = time.Now(), l.Frames
	}
	v.last = l
	if v.bar != nil {
		v.bar.SetTotal(l.Total+1, false) // never complete by itself
		v.bar.SetCurrent(l.Frames)
		return
	}
	if time.Since(v.told) >= tellEvery {
		v.told = time.Now()
		v.p.println(v.name + ": " + v.text())
	}
}

// close takes the bar away.
func (v *videoBar) close() {
	if v.bar != nil {
		v.bar.Abort(true)
	}
}

// close leaves the bar as it is and stops drawing it.
func (p *progress) close() {
	if p.bar != nil {
		p.bar.Abort(false)
		p.bars.Wait()
	}
}
