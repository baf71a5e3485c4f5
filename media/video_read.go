package media

// #include <libavutil/pixdesc.h>
// #include "video_read.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/asticode/go-astiav"

	"restored/frame"
)

// Reader decodes the main stream's pictures in [From, To). It is used by one
// goroutine at a time; the pictures may be used and released by any.
type Reader struct {
	v       *Video
	o       ReadOptions
	picture PictureFormat // of the stream
	codec   string
	work    pixelKind // what the pictures become
	matrix  string
	colour  frame.Colour
	notes   []string

	in      *input
	dec     *decoder
	used    bool // in has been read from
	last    int64
	step    int64 // the usual distance of two pictures
	guessed bool  // a picture bore no time, nor did its packet
	filter  *filter
	stamps  map[int64]stamp // of the pictures inside the filter, by their number
	ready   []*Picture      // decoded and filtered, ascending
	ended   bool            // nothing more comes from the decoder
	eof     bool            // because the file is at its end

	pool   framePool
	counts ReadCounts
	before int64 // what was damaged before From
	err    error // of Next, for good
}

// stamp is when a picture is shown.
type stamp struct{ pts, duration int64 }

// OpenReader prepares to read the pictures of v's main stream whose timestamps
// lie in [o.From, o.To). It finds the keyframe from which they can be decoded.
//
// Pictures and timestamps are the same as in one read of the whole file. Where
// a container's timestamps depend on what stands before them, everything
// before From is demuxed (not decoded); where nothing but reading from the
// start gives the same pictures, that is done.
//
// Errors are those of ProbeVideo; a file that has changed in size since is ErrDamaged.
func OpenReader(ctx context.Context, v *Video, o ReadOptions) (*Reader, error) {
	if o.From != NoTime && o.To != NoTime && o.To < o.From {
		return nil, fmt.Errorf("read %s: timestamps from %d to %d", v.Path, o.From, o.To)
	}
	s := v.Stream()
	r := &Reader{v: v, o: o, picture: *s.Picture, codec: s.Codec, stamps: map[int64]stamp{}}
	if err := r.formats(); err != nil {
		return nil, fmt.Errorf("read %s: %w", v.Path, err)
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	if err := r.in.while(ctx, func() error { return r.start(ctx) }); err != nil {
		r.close()
		return nil, fmt.Errorf("read %s: %w", v.Path, err)
	}
	return r, nil
}

// formats decides what the pictures become.
func (r *Reader) formats() error {
	name, note := WorkFormat(r.picture)
	var err error
	if r.work, err = describe(name); err != nil {
		return err
	}
	if note != "" {
		r.notes = append(r.notes, note)
	}
	r.matrix = r.picture.matrix()
	p := r.picture
	p.Mono, p.SubX, p.SubY = r.work.Mono, r.work.SubX, r.work.SubY
	r.colour = p.colour(r.codec)
	if r.picture.RGB {
		r.colour.Full = false
	}
	return nil
}

// open opens the container, again where it is open.
func (r *Reader) open(ctx context.Context) error {
	r.closeInput()
	in, err := openInput(ctx, r.v.Path, placed...)
	if err != nil {
		return err
	}
	r.in, r.used = in, false
	s := r.v.Stream()
	st, err := in.file.Stat()
	switch {
	case err != nil:
	case st.Size() != r.v.Size:
		err = fmt.Errorf("%w: the file had %d bytes and has %d now", ErrDamaged, r.v.Size, st.Size())
	case r.v.Main >= in.fc.NbStreams() || C.GoString(C.avcodec_get_name(in.stream(r.v.Main).codecpar.codec_id)) != s.Codec:
		err = fmt.Errorf("%w: the file isn't the one that was probed", ErrDamaged)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", r.v.Path, err)
	}
	in.only(r.v.Main)
	r.step = s.step()
	return nil
}

// step is the usual distance of two pictures, at least 1.
func (s *Stream) step() int64 {
	rate, base := s.Picture.AverageRate, s.TimeBase
	if rate.Num <= 0 || rate.Den <= 0 || base.Num <= 0 || base.Den <= 0 {
		return 1
	}
	return max(1, int64(C.av_rescale_q(1, C.AVRational{C.int(rate.Den), C.int(rate.Num)}, C.AVRational{C.int(base.Num), C.int(base.Den)})))
}

// lastDuration is how long the last picture is shown: what its packet says,
// where the container writes that down.
func (v *Video) lastDuration(packet int64) int64 {
	if strings.HasPrefix(v.Format, "mov,") && packet > 0 {
		return packet
	}
	return v.Stream().step()
}

// Notes are what differs between the file's pictures and those of Next, in words.
func (r *Reader) Notes() []string { return r.notes }

// Counts are up to date after each Next.
func (r *Reader) Counts() ReadCounts {
	c := r.counts
	if r.dec != nil {
		c.Corrupt = r.dec.corrupt - r.before
		if r.eof {
			c.Truncated = r.dec.ended
		}
	}
	return c
}

// Next is the next picture, which the caller releases. After the last picture
// before To, or the file's last, it is io.EOF; whether the file ended too
// early is in Counts. Any other error is for good: the reader can only be
// closed then. When ctx ends, Next returns within the time that one packet takes.
func (r *Reader) Next(ctx context.Context) (*Picture, error) {
	if r.err != nil {
		return nil, r.err
	}
	p, err := r.next(ctx)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("read %s: %w", r.v.Path, err)
		}
		r.err = err
		return nil, err
	}
	r.counts.Pictures++
	return p, nil
}

func (r *Reader) next(ctx context.Context) (p *Picture, err error) {
	if r.in == nil {
		return nil, errors.New("the reader is closed")
	}
	err = r.in.while(ctx, func() error {
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			if len(r.ready) < 2 && !r.ended { // the next one says how long this one lasts
				if err := r.produce(); err != nil {
					return err
				}
				continue
			}
			if len(r.ready) == 0 {
				return io.EOF
			}
			p = r.ready[0]
			if len(r.ready) > 1 {
				p.Duration = r.ready[1].PTS - p.PTS
			} else {
				p.Duration = r.v.lastDuration(p.Duration)
			}
			r.ready = r.ready[1:]
			switch {
			case r.o.From != NoTime && p.PTS < r.o.From:
				p.Release()
				r.before = r.dec.corrupt
				continue
			case r.o.To != NoTime && p.PTS >= r.o.To:
				p.Release()
				r.drop()
				r.ended, r.eof = true, false
				return io.EOF
			}
			return nil
		}
	})
	return p, err
}

// produce decodes one picture and puts what comes of it into ready.
func (r *Reader) produce() error {
	f, err := r.dec.picture()
	if errors.Is(err, io.EOF) {
		r.ended, r.eof = true, true
		if r.dec.ended == "" {
			r.dec.ended = r.in.cutOff(r.v, -1)
		}
		return r.flush()
	}
	if err != nil {
		return err
	}
	return r.take(f, r.stamp(f))
}

// stamp is the picture's time: the one its packet bears, else that of the
// packet that brought it out, else the usual distance after the one before.
func (r *Reader) stamp(f *astiav.Frame) stamp {
	c := (*C.AVFrame)(pointer(f))
	pts := int64(c.pts)
	if pts == NoTime {
		pts = int64(c.pkt_dts)
	}
	if pts == NoTime {
		pts, r.guessed = 0, true
		if r.last != NoTime {
			pts = r.last + r.step
		}
	}
	if r.last != NoTime && pts <= r.last {
		pts = r.last + 1
	}
	r.last = pts
	return stamp{pts, max(0, int64(c.pkt_duration))}
}

// Close frees the decoder and closes the file. Pictures that are still held
// stay valid until their Release. It may be called again.
func (r *Reader) Close() error {
	r.close()
	return nil
}

func (r *Reader) close() {
	r.drop()
	r.closeInput()
	r.pool.close()
}

func (r *Reader) closeInput() {
	if r.filter != nil {
		r.filter.Close()
		r.filter = nil
	}
	if r.dec != nil {
		r.counts = r.Counts()
		r.before = 0
		r.dec.Close()
		r.dec = nil
	}
	if r.in != nil {
		r.in.Close()
		r.in = nil
	}
}
