package media

// #include <errno.h>
// #include "video_read.h"
import "C"

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/asticode/go-astiav"
)

// Kinds of containers, by their demuxers.
var (
	// Packets bear their own timestamps, and those read from the middle are
	// those of a read from the start.
	seekable = []string{"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "nut", "flv", "avi"}
	// The same may be true: an index tells.
	streams = []string{"mpegts", "mpeg"}
	// A packet's place is its time. What FFmpeg derives beyond that depends on
	// where reading began, so it mustn't.
	placed = []string{"avi"}
)

// margins are how much before From a keyframe is looked for, until the first
// picture that comes out isn't after From.
var margins = []time.Duration{0, time.Second, 5 * time.Second, 30 * time.Second}

// maxHeld bounds the bytes of packets that wait for a decision where to begin.
const maxHeld = 256 << 20

// start leaves the decoder before the first picture that is wanted, and that
// picture or one before it in ready.
func (r *Reader) start(ctx context.Context) error {
	if r.o.From == NoTime || r.v.Stream().Start != NoTime && r.o.From <= r.v.Stream().Start {
		return r.begin()
	}
	switch {
	case r.codec == "gif" || r.picture.PixelFormat == "pal8": // pictures build on all before
	case slices.Contains(seekable, r.v.Format), r.o.Direct && slices.Contains(streams, r.v.Format):
		for _, m := range margins {
			if ok, err := r.seek(ctx, r.o.From-r.ticks(m)); ok || err != nil {
				return err
			}
		}
		fallthrough
	default:
		if ok, err := r.scan(ctx); ok || err != nil {
			return err
		}
	}
	return r.restart(ctx)
}

// restart reads from the very start.
func (r *Reader) restart(ctx context.Context) error {
	if r.used {
		if err := r.open(ctx); err != nil {
			return err
		}
	}
	return r.begin()
}

// begin makes a new decoder for what is read next.
func (r *Reader) begin() error {
	r.drop()
	if r.filter != nil {
		r.filter.Close()
		r.filter = nil
	}
	clear(r.stamps)
	if r.dec != nil {
		r.dec.Close()
		r.dec = nil
	}
	d, err := openDecoder(r.in, r.v.Main, r.o.Threads)
	if err != nil {
		return err
	}
	r.dec, r.last, r.guessed, r.ended, r.eof, r.before, r.used = d, NoTime, false, false, false, 0, true
	return nil
}

// ticks is a time in the stream's time base.
func (r *Reader) ticks(d time.Duration) int64 {
	b := r.v.Stream().TimeBase
	return int64(C.av_rescale_q(C.int64_t(d), C.AVRational{1, 1e9}, C.AVRational{C.int(b.Num), C.int(b.Den)}))
}

// seek looks for the keyframe at or before target. False: From's picture can't
// be decoded from there.
func (r *Reader) seek(ctx context.Context, target int64) (bool, error) {
	if err := r.begin(); err != nil {
		return false, err
	}
	rc := C.av_seek_frame(r.in.c(), C.int(r.v.Main), C.int64_t(target), C.AVSEEK_FLAG_BACKWARD)
	if rc < 0 {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		return false, nil
	}
	for {
		p, err := r.dec.next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !r.in.entry(p) {
			continue
		}
		at := p.Pts()
		if at == NoTime && r.v.Format == "avi" {
			at = p.Dts()
		}
		if at == NoTime || at > r.o.From {
			return false, nil
		}
		if err := r.hold(p); err != nil {
			return false, err
		}
		return r.reaches(ctx)
	}
}

// hold puts a packet before those that the decoder reads itself.
func (r *Reader) hold(p *astiav.Packet) error {
	own := p.Clone()
	if own == nil {
		return astiav.Error(-C.ENOMEM)
	}
	r.dec.queue = append(r.dec.queue, own)
	return nil
}

// scan demuxes from the file's start, so that the packets' timestamps are those
// of a whole read, and begins to decode two keyframes before From.
func (r *Reader) scan(ctx context.Context) (bool, error) {
	if err := r.open(ctx); err != nil {
		return false, err
	}
	if err := r.begin(); err != nil {
		return false, err
	}
	d := r.dec
	var held []*astiav.Packet // from the last keyframe but one
	lastKey, bytes := -1, 0
	free := func(n int) {
		for _, p := range held[:n] {
			bytes -= p.Size()
			p.Free()
		}
		held = slices.Delete(held, 0, n)
	}
	for bytes < maxHeld {
		p, err := d.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			free(len(held))
			return false, err
		}
		if r.in.entry(p) {
			free(max(lastKey, 0))
			lastKey = len(held)
		}
		own := p.Clone()
		if own == nil {
			free(len(held))
			return false, astiav.Error(-C.ENOMEM)
		}
		held = append(held, own)
		bytes += own.Size()
		if at := own.Dts(); at != NoTime && at > r.o.From || at == NoTime && own.Pts() != NoTime && own.Pts() > r.o.From && r.in.entry(own) {
			break
		}
	}
	d.queue = held
	return r.reaches(ctx)
}

// reaches decodes a first picture and tells whether it is at From or before;
// the deinterlacer needs one that is before.
func (r *Reader) reaches(ctx context.Context) (bool, error) {
	for len(r.ready) == 0 && !r.ended {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if err := r.produce(); err != nil {
			return false, err
		}
	}
	if len(r.ready) == 0 || r.guessed {
		return false, nil
	}
	at := r.ready[0].PTS
	return at < r.o.From || at == r.o.From && !r.o.Bwdif, nil
}
