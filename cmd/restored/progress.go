package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"
)

// A progress shows how far a run is: a bar on a terminal, and where there is
// none only the lines that are printed.
type progress struct {
	w    io.Writer
	bars *mpb.Progress // nil: no terminal
	bar  *mpb.Bar
	name atomic.Value // string: the file that was finished last
}

func newProgress(w io.Writer, total int) *progress {
	p := &progress{w: w}
	f, ok := w.(*os.File)
	if !ok {
		return p
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
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
	if p.bar != nil {
		p.name.Store(printable(name))
		p.bar.Increment()
	}
}

// println prints a line above the bar.
func (p *progress) println(line string) {
	if p.bars != nil {
		fmt.Fprintln(p.bars, printable(line))
		return
	}
	fmt.Fprintln(p.w, printable(line))
}

// close leaves the bar as it is and stops drawing it.
func (p *progress) close() {
	if p.bar != nil {
		p.bar.Abort(false)
		p.bars.Wait()
	}
}
