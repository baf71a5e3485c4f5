package media

// #include "video_read.h"
import "C"

import (
	"fmt"

	"github.com/asticode/go-astiav"

	"restored/frame"
)

// take moves the picture, by way of the filter where it needs one, into ready.
func (r *Reader) take(f *astiav.Frame, at stamp) error {
	c := (*C.AVFrame)(pointer(f))
	if !r.o.Bwdif && c.format == C.int(r.work.format) && int(c.width) == r.picture.Width && int(c.height) == r.picture.Height {
		if err := r.flush(); err != nil { // of pictures in another format
			return err
		}
		own, err := r.pool.get()
		if err != nil {
			return err
		}
		own.MoveRef(f)
		return r.give(own, at)
	}
	if r.filter != nil && !r.filter.fits(c) {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if r.filter == nil {
		chain, doubled, err := r.chain(c)
		if err != nil {
			return err
		}
		if r.filter, err = newFilter(c, chain, doubled, r.o.Threads); err != nil {
			return err
		}
	}
	r.fields(c)
	r.stamps[r.filter.in] = at
	if err := r.filter.push(c); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	return r.pull()
}

// fields marks a picture as interlaced where only the container says so.
func (r *Reader) fields(c *C.AVFrame) {
	switch r.codec {
	case "mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "vc1": // each picture says it
		return
	}
	switch r.picture.FieldOrder {
	case "tt", "tb":
		c.interlaced_frame, c.top_field_first = 1, 1
	case "bb", "bt":
		c.interlaced_frame, c.top_field_first = 1, 0
	}
}

// pull takes what the filter has.
func (r *Reader) pull() error {
	for {
		own, err := r.pool.get()
		if err != nil {
			return err
		}
		ok, err := r.filter.pull(own)
		if !ok || err != nil {
			r.pool.put(own)
			return err
		}
		c := (*C.AVFrame)(pointer(own))
		number := int64(c.pts)
		at, ok := r.stamps[number]
		if !ok {
			r.pool.put(own)
			return fmt.Errorf("the filter gave picture %d twice", number)
		}
		delete(r.stamps, number)
		if err := r.give(own, at); err != nil {
			return err
		}
	}
}

// flush ends the filter, if there is one.
func (r *Reader) flush() error {
	if r.filter == nil {
		return nil
	}
	err := r.filter.push(nil)
	if err == nil {
		err = r.pull()
	}
	r.filter.Close()
	r.filter = nil
	clear(r.stamps)
	return err
}

// give makes a Picture of a frame and puts it into ready.
func (r *Reader) give(own *astiav.Frame, at stamp) error {
	c := (*C.AVFrame)(pointer(own))
	if c.linesize[0] < 0 || c.linesize[1] < 0 || c.linesize[2] < 0 { // upside down in memory
		turned, err := r.pool.get()
		if err != nil {
			return err
		}
		err = avError(C.vr_copy((*C.AVFrame)(pointer(turned)), c))
		r.pool.put(own)
		if err != nil {
			r.pool.put(turned)
			return err
		}
		own, c = turned, (*C.AVFrame)(pointer(turned))
	}
	c.pts, c.pkt_duration = C.int64_t(at.pts), C.int64_t(at.duration)
	if r.picture.RGB {
		c.colorspace, c.color_range = colourSpace(r.matrix), C.AVCOL_RANGE_MPEG
	}
	p := &Picture{PTS: at.pts, Duration: at.duration, native: nativePicture{own, &r.pool}}
	p.Planar = frame.Planar{
		Width: int(c.width), Height: int(c.height), Depth: r.work.Depth,
		SubX: r.work.SubX, SubY: r.work.SubY, Mono: r.work.Mono, Colour: r.colour,
	}
	if p.Mono {
		p.SubX, p.SubY = 0, 0
	}
	showPlanes(&p.Planar, c)
	r.ready = append(r.ready, p)
	return nil
}

// drop releases what is ready.
func (r *Reader) drop() {
	for _, p := range r.ready {
		p.Release()
	}
	r.ready = nil
}
