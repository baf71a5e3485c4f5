package media

// #include <errno.h>
// #include "video_read.h"
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/asticode/go-astiav"

	"restored/frame"
)

// nativePicture is FFmpeg's frame behind a Picture, and where it goes back to.
type nativePicture struct {
	frame *astiav.Frame
	pool  *framePool
}

// Writable lets the planes be changed: what the decoder still refers to is
// copied, and Planar then shows the copy.
func (p *Picture) Writable() error {
	if p.native.frame == nil {
		return errors.New("media: the picture has been released")
	}
	c := (*C.AVFrame)(pointer(p.native.frame))
	if err := avError(C.av_frame_make_writable(c)); err != nil {
		return fmt.Errorf("copy a picture: %w", err)
	}
	showPlanes(&p.Planar, c)
	return nil
}

// Release gives the picture's memory back; Planar is empty then. It may be
// called again, but not by two goroutines at once.
func (p *Picture) Release() {
	if f := p.native.frame; f != nil {
		p.native.frame = nil
		p.Pix = [3][]byte{}
		p.native.pool.put(f)
	}
}

// showPlanes lets p's slices show the planes of f. p says what size they have.
func showPlanes(p *frame.Planar, f *C.AVFrame) {
	for i := range p.Planes() {
		w, h := p.PlaneSize(i)
		p.Stride[i] = int(f.linesize[i])
		p.Pix[i] = unsafe.Slice((*byte)(unsafe.Pointer(f.data[i])), p.Stride[i]*(h-1)+w*p.Bytes())
	}
}

// framePool keeps a few empty frames. The planes themselves come from FFmpeg's
// own pools, which outlive the decoder as long as a picture is held.
type framePool struct {
	sync.Mutex
	free   []*astiav.Frame
	closed bool
}

// poolSize bounds the frames that wait; an empty one takes half a KiB.
const poolSize = 64

func (p *framePool) get() (*astiav.Frame, error) {
	p.Lock()
	defer p.Unlock()
	if n := len(p.free); n > 0 {
		f := p.free[n-1]
		p.free = p.free[:n-1]
		return f, nil
	}
	f := astiav.AllocFrame()
	if f == nil {
		return nil, errors.New("out of memory")
	}
	return f, nil
}

func (p *framePool) put(f *astiav.Frame) {
	f.Unref()
	p.Lock()
	defer p.Unlock()
	if p.closed || len(p.free) >= poolSize {
		f.Free()
		return
	}
	p.free = append(p.free, f)
}

func (p *framePool) close() {
	p.Lock()
	defer p.Unlock()
	p.closed = true
	for _, f := range p.free {
		f.Free()
	}
	p.free = nil
}
