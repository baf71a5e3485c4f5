package main

import (
	"fmt"
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"
)

// isTerminal says whether somebody looks at what is written to w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// drawable says whether bars can be drawn on w: on a terminal that can go back in
// a line.
func drawable(w any) bool { return isTerminal(w) && os.Getenv("TERM") != "dumb" }

// The colours of the terminal.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
	bold   = "1"
)

// painter returns what colours a text for w: nothing where w is no terminal, or
// the user wants none (NO_COLOR, https://no-color.org, or TERM=dumb).
func painter(w io.Writer) func(colour, text string) string {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(w) {
		return func(_, text string) string { return text }
	}
	return func(colour, text string) string { return "\x1b[" + colour + "m" + text + "\x1b[0m" }
}

// A byteBar shows how far a download is: a bar on a terminal, else a line at
// each tenth.
type byteBar struct {
	w     io.Writer
	name  string
	bars  *mpb.Progress // nil: no terminal
	bar   *mpb.Bar
	tenth int64
}

func newByteBar(w io.Writer, name string) *byteBar {
	b := &byteBar{w: w, name: name}
	if drawable(w) {
		b.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
		b.bar = b.bars.AddBar(0,
			mpb.PrependDecorators(decor.Name(name+" "), decor.Counters(decor.SizeB1000(0), "% .1f / % .1f")),
			mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1000(0), "% .1f"), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	return b
}

// set moves the bar to done of total bytes; a total of 0 isn't known.
func (b *byteBar) set(done, total int64) {
	if b.bar != nil {
		b.bar.SetTotal(total, false)
		b.bar.SetCurrent(done)
		return
	}
	if total > 0 && done*10/total > b.tenth {
		b.tenth = done * 10 / total
		fmt.Fprintf(b.w, "%s: %d of %d MB\n", b.name, done/1e6, total/1e6)
	}
}

// println prints a line above the bar.
func (b *byteBar) println(line string) {
	if b.bars != nil {
		fmt.Fprintln(b.bars, printable(line))
		return
	}
	fmt.Fprintln(b.w, printable(line))
}

// close leaves the bar as it is.
func (b *byteBar) close() {
	if b.bar != nil {
		b.bar.Abort(false)
		b.bars.Wait()
	}
}
