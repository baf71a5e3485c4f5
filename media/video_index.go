package media

// #include "video_read.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/asticode/go-astiav"
)

// maxKeyframes bounds what an index keeps; a film of a day has fewer seconds.
const maxKeyframes = 1 << 17

// IndexVideo demuxes the whole file once. progress, if not nil, is told the
// share that is done, 0 to 1, some hundred times.
//
// Frames is the number of pictures that a Reader gives. It is exact for files
// whose packets hold one picture each and for what is known to differ (fields
// in packets of their own, packed B-frames, packets without a picture, what
// can't be decoded before the first keyframe); damage makes it differ.
// A file that ends too early isn't an error: Truncated says why. Errors are
// those of ProbeVideo.
func IndexVideo(ctx context.Context, v *Video, progress func(done float64)) (Index, error) {
	in, err := openInput(ctx, v.Path, slices.Concat(placed, streams)...)
	if err != nil {
		return Index{}, err
	}
	defer in.Close()
	x, err := in.index(ctx, v, progress)
	if err != nil {
		return Index{}, fmt.Errorf("index %s: %w", v.Path, err)
	}
	return x, nil
}

// indexer is one pass over the packets.
type indexer struct {
	Index
	second       int64 // in ticks
	last         int64 // the latest timestamp
	lastDuration int64
	stream       bool  // a container whose timestamps may be missing
	delay        int64 // of the decoder, in pictures
	since        int64 // pictures without a timestamp after the last that has one
	packets      int64 // of the main stream, all
	firstDTS     int64
	firstKey     int64 // the first keyframe's timestamp
	leading      int64 // pictures before it
	timed        bool  // packets bear times of display
	spacing      spacing
}

func (in *input) index(ctx context.Context, v *Video, progress func(float64)) (Index, error) {
	s := v.Stream()
	x := &indexer{
		Index:    Index{First: NoTime, End: NoTime, Direct: slices.Contains(seekable, v.Format) || slices.Contains(streams, v.Format)},
		stream:   slices.Contains(streams, v.Format),
		firstDTS: NoTime, firstKey: NoTime, last: NoTime, timed: true,
		second: max(1, int64(math.Round(float64(s.TimeBase.Den)/float64(max(1, s.TimeBase.Num))))),
	}
	if v.Main >= in.fc.NbStreams() {
		return Index{}, fmt.Errorf("%w: the file isn't the one that was probed", ErrDamaged)
	}
	x.delay = int64(in.stream(v.Main).codecpar.video_delay)
	count, err := newCounter(in.stream(v.Main), s.Codec)
	if err != nil {
		return Index{}, err
	}
	defer count.Close()
	p := astiav.AllocPacket()
	defer p.Free()
	told := 0.0
	err = in.while(ctx, func() error {
		for {
			p.Unref()
			if err := in.next(p, &x.Truncated); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if p.StreamIndex() == v.Main {
				x.add(p, count.pictures(p), in.entry(p))
			} else {
				x.Other += int64(p.Size())
			}
			if progress != nil && v.Size > 0 {
				if done := float64(C.vr_io_pos(in.io)) / float64(v.Size); done >= told+0.005 {
					told = min(done, 1)
					progress(told)
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return Index{}, err
	}
	if x.Truncated == "" {
		x.Truncated = in.cutOff(v, x.packets)
	}
	if x.Frames == 0 {
		return Index{}, fmt.Errorf("%w: no pictures in the %s stream", ErrDamaged, s.Codec)
	}
	x.Variable = x.spacing.variable(s.TimeBase)
	if err := x.begin(ctx, v); err != nil {
		return Index{}, err
	}
	if progress != nil {
		progress(1)
	}
	return x.Index, nil
}

// add counts a packet of the main stream that holds n pictures. entry: decoding
// can begin with it.
func (x *indexer) add(p *astiav.Packet, n int64, entry bool) {
	x.Bytes += int64(p.Size())
	x.packets++
	if p.Flags()&astiav.PacketFlags(astiav.PacketFlagCorrupt) != 0 {
		x.Corrupt++
	}
	if n == 0 {
		return
	}
	x.Frames += n
	at := p.Pts()
	switch {
	case at != NoTime:
		x.since = 0
		x.Direct = x.Direct && (x.last == NoTime || at > x.last-10*x.second)
	case x.stream:
		x.Direct, x.since = false, x.since+n
		return
	default:
		at, x.timed = p.Dts(), false
	}
	if at == NoTime {
		return
	}
	if x.firstDTS == NoTime {
		x.firstDTS = p.Dts()
	}
	if entry {
		x.key(at)
	} else if x.firstKey == NoTime {
		x.leading += n
	}
	if x.firstKey != NoTime && at < x.firstKey {
		x.leading += n
	}
	if x.last == NoTime || at > x.last {
		x.last, x.lastDuration = at, p.Duration()
	}
	x.spacing.add(at)
}

func (x *indexer) key(at int64) {
	if x.firstKey == NoTime {
		x.firstKey = at
	}
	if n := len(x.Keyframes); n < maxKeyframes && (n == 0 || at >= x.Keyframes[n-1]+x.second) {
		x.Keyframes = append(x.Keyframes, at)
	}
}

// begin decodes the first pictures: only a decoder knows which of those before
// the first keyframe there are, and what the timestamps are of a container that
// has only those of decoding.
func (x *indexer) begin(ctx context.Context, v *Video) error {
	r, err := OpenReader(ctx, v, ReadOptions{From: NoTime, To: NoTime, Threads: 1})
	if err != nil {
		return err
	}
	defer r.close()
	decoded := int64(0)
	for x.First == NoTime || x.timed && x.leading > 0 && x.firstKey != NoTime {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		at := p.PTS
		p.Release()
		if x.First == NoTime {
			x.First = at
		}
		if x.firstKey == NoTime || at >= x.firstKey {
			break
		}
		decoded++
	}
	if x.timed && x.leading > 0 {
		x.Frames += decoded - x.leading
	}
	if x.First == NoTime {
		return fmt.Errorf("%w: no picture of the %s stream can be decoded", ErrDamaged, v.Stream().Codec)
	}
	if x.last == NoTime {
		x.last = x.First + (x.Frames-1)*v.Stream().step()
	} else if !x.timed && x.firstDTS != NoTime {
		x.last += max(0, min(x.First-x.firstDTS, x.delay*v.Stream().step()))
	}
	x.last += x.since * v.Stream().step()
	x.End = max(x.First, x.last) + v.lastDuration(x.lastDuration)
	x.Keyframes = slices.DeleteFunc(x.Keyframes, func(k int64) bool { return k < x.First })
	return nil
}

// Segments cuts the video at keyframes into spans of timestamps [From, To),
// each at least least long where the keyframes let it be and, where they do,
// none longer than most. A span between two distant keyframes is longer, and
// where there are no others it is the whole video. The first From and the last
// To are NoTime, so that every picture is in exactly one span.
func (x Index) Segments(base Rational, least, most time.Duration) [][2]int64 {
	ticks := func(d time.Duration) int64 {
		return int64(d.Seconds() * float64(base.Den) / float64(max(1, base.Num)))
	}
	short, long := max(1, ticks(least)), ticks(most)
	var cuts []int64
	start := x.First
	for i, k := range x.Keyframes {
		if k-start < short {
			continue
		}
		if i > 0 && k-start > long && x.Keyframes[i-1] > start {
			cuts = append(cuts, x.Keyframes[i-1]) // a short one rather than one too long
			start = x.Keyframes[i-1]
			if k-start < short {
				continue
			}
		}
		cuts = append(cuts, k)
		start = k
	}
	if n := len(cuts); n > 0 && x.End-cuts[n-1] < short { // a last one that is too short
		before := x.First
		if n > 1 {
			before = cuts[n-2]
		}
		if x.End-before <= long {
			cuts = cuts[:n-1]
		}
	}
	spans := make([][2]int64, 0, len(cuts)+1)
	from := NoTime
	for _, c := range cuts {
		spans = append(spans, [2]int64{from, c})
		from = c
	}
	return append(spans, [2]int64{from, NoTime})
}

// spacing watches the distances of timestamps that come nearly in order.
type spacing struct {
	window []int64 // sorted; the next ones to be shown
	last   int64
	any    bool
	least  int64
	most   int64
	many   bool
}

// reordered is more than how far any codec's pictures are out of order.
const reordered = 40

func (s *spacing) add(at int64) {
	i, _ := slices.BinarySearch(s.window, at)
	s.window = slices.Insert(s.window, i, at)
	if len(s.window) > reordered {
		s.step(s.window[0])
		s.window = slices.Delete(s.window, 0, 1)
	}
}

func (s *spacing) step(at int64) {
	if s.any {
		d := at - s.last
		if !s.many {
			s.least, s.most, s.many = d, d, true
		}
		s.least, s.most = min(s.least, d), max(s.most, d)
	}
	s.last, s.any = at, true
}

// variable: the distances differ by more than a tick and a millisecond.
func (s *spacing) variable(base Rational) bool {
	for _, at := range s.window {
		s.step(at)
	}
	s.window = nil
	d := s.most - s.least
	return d > 1 && float64(d)*float64(base.Num)/float64(max(1, base.Den)) > 0.0011
}
