package media

// #include <stdlib.h>
// #include <libavfilter/buffersink.h>
// #include <libavfilter/buffersrc.h>
// #include <libavutil/pixdesc.h>
// #include "video_read.h"
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/asticode/go-astiav"
)

// filter is a chain of FFmpeg's filters that gives one picture for each. It
// counts the pictures in and out, to put the timestamps back that filters may
// round.
type filter struct {
	graph         *astiav.FilterGraph
	src, sink     *C.AVFilterContext
	width, height C.int // of the pictures that it takes
	format        C.int
	tick          int64 // the graph's timestamps of the output go up by this
	in, out       int64
}

// newFilter makes the chain for pictures like f.
func newFilter(f *C.AVFrame, chain string, doubled bool, threads int) (*filter, error) {
	l := &filter{graph: astiav.AllocFilterGraph(), width: f.width, height: f.height, format: f.format, tick: 1}
	if l.graph == nil {
		return nil, errors.New("out of memory")
	}
	if doubled {
		l.tick = 2
	}
	l.graph.SetThreadCount(threads)
	args := C.CString(fmt.Sprintf("width=%d:height=%d:pix_fmt=%d:time_base=1/25:sar=1/1", f.width, f.height, f.format))
	defer C.free(unsafe.Pointer(args))
	ch := C.CString(chain)
	defer C.free(unsafe.Pointer(ch))
	if err := avError(C.vr_graph((*C.AVFilterGraph)(pointer(l.graph)), args, ch, &l.src, &l.sink)); err != nil {
		l.Close()
		return nil, fmt.Errorf("set up the filter %s: %w", chain, err)
	}
	return l, nil
}

// fits tells whether the chain was made for pictures like f.
func (l *filter) fits(f *C.AVFrame) bool {
	return l.width == f.width && l.height == f.height && l.format == f.format
}

// push gives the chain a picture, which is empty then; nil ends it.
func (l *filter) push(f *C.AVFrame) error {
	if f != nil {
		f.pts = C.int64_t(l.in)
		l.in++
	}
	return avError(C.av_buffersrc_add_frame(l.src, f))
}

// pull takes a picture, with its number in the order of push as pts; false: there is none yet.
func (l *filter) pull(into *astiav.Frame) (bool, error) {
	c := (*C.AVFrame)(pointer(into))
	err := avError(C.av_buffersink_get_frame(l.sink, c))
	if errors.Is(err, astiav.ErrEagain) || errors.Is(err, astiav.ErrEof) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c.pts /= C.int64_t(l.tick)
	return true, nil
}

func (l *filter) Close() {
	if l.graph != nil {
		l.graph.Free()
		l.graph = nil
	}
}

// chain says which filters turn pictures like f into those of the work format.
// doubled: its timestamps count half pictures.
func (r *Reader) chain(f *C.AVFrame) (chain string, doubled bool, err error) {
	var steps []string
	from, err := describe(C.GoString(C.av_get_pix_fmt_name(int32(f.format))))
	if err != nil {
		return "", false, err
	}
	convert := "flags=bicubic+accurate_rnd+full_chroma_int"
	if from.RGB {
		convert += ":out_color_matrix=" + scaleMatrix(r.matrix) + ":out_range=tv"
	} else {
		rng := "tv"
		if r.colour.Full {
			rng = "pc"
		}
		convert += ":in_range=" + rng + ":out_range=" + rng
	}
	if from.format != r.work.format {
		steps = append(steps, "scale="+convert, "format="+r.work.PixelFormat)
	}
	if r.o.Bwdif {
		steps = append(steps, "bwdif=mode=send_frame:parity=auto:deint=interlaced")
	}
	if int(f.width) != r.picture.Width || int(f.height) != r.picture.Height {
		steps = append(steps, fmt.Sprintf("scale=%d:%d:%s", r.picture.Width, r.picture.Height, convert), "format="+r.work.PixelFormat)
	}
	return strings.Join(steps, ","), r.o.Bwdif, nil
}

// scaleMatrix is the scale filter's name of a matrix.
func scaleMatrix(name string) string {
	switch name {
	case "bt2020nc", "bt2020c", "ictcp":
		return "bt2020"
	}
	return name
}
