package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/asticode/go-astiav"
)

// segmentReader gives the packets of all segments in order, with times of the
// source's time base made anew: the time of decoding of packet i is the
// (i − depth)-th smallest timestamp of all, so it ascends over every seam.
type segmentReader struct {
	paths  []string
	stream *Stream
	firsts []int64 // timestamp of each segment's first picture
	par    *astiav.CodecParameters
	depth  int
	end    int64 // where the last picture ends; 0: unknown
	ending int64 // duration of the last picture
	count  int64 // packets given
	times  []int64
	seams  []int64 // number of packets before each segment

	next   int // segment to open
	in     *input
	packet *astiav.Packet
	full   bool
	sorted []int64 // timestamps of the open segment
	decode []int64 // times of decoding of the open segment's packets
	given  int     // packets of the open segment
	tail   []int64 // the last depth timestamps of the segments before
	now    int64
}

// openSegmentReader opens each segment once, to see that they fit together.
func openSegmentReader(ctx context.Context, paths []string, e *Encoding, s *Stream) (*segmentReader, error) {
	if len(paths) == 0 {
		return nil, errors.New("no segments")
	}
	r := &segmentReader{paths: paths, stream: s, packet: astiav.AllocPacket()}
	var extra []byte
	for i, path := range paths {
		first, par, err := probeSegment(ctx, path, e)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("segment %s: %w", path, err)
		}
		if i == 0 {
			r.par, extra = par, par.ExtraData()
		} else {
			same := bytes.Equal(par.ExtraData(), extra)
			par.Free()
			if !same {
				r.Close()
				return nil, fmt.Errorf("segment %s has other codec headers than %s: another version of %s made it", path, paths[0], e.Encoder)
			}
		}
		if i > 0 && first <= r.firsts[i-1] {
			r.Close()
			return nil, fmt.Errorf("segment %s begins at %d, %s before it at %d", path, first, paths[i-1], r.firsts[i-1])
		}
		r.firsts = append(r.firsts, first)
	}
	return r, nil
}

// probeSegment reads a segment's header. The caller frees the parameters.
func probeSegment(ctx context.Context, path string, e *Encoding) (int64, *astiav.CodecParameters, error) {
	in, err := openInput(ctx, path)
	if err != nil {
		return 0, nil, err
	}
	defer in.Close()
	if in.fc.NbStreams() != 1 {
		return 0, nil, fmt.Errorf("%w: %d streams", ErrDamaged, in.fc.NbStreams())
	}
	tags := entries(in.fc.Metadata())
	if tags[segmentEncoding] != e.sum() {
		return 0, nil, errors.New("it is encoded in another way than this video's Encoding says")
	}
	first, err := strconv.ParseInt(tags[segmentFirst], 10, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: no first timestamp", ErrDamaged)
	}
	par := astiav.AllocCodecParameters()
	if err := in.fc.Streams()[0].CodecParameters().Copy(par); err != nil {
		par.Free()
		return 0, nil, err
	}
	return first, par, nil
}

// last is the timestamp where the segments end, as far as it is known.
func (r *segmentReader) last() int64 {
	if r.end > r.firsts[len(r.firsts)-1] {
		return r.end
	}
	return r.firsts[len(r.firsts)-1]
}

// at is the time of the packet given last.
func (r *segmentReader) at() int64 {
	if r.count == 0 {
		return r.firsts[0]
	}
	return r.now
}

// peek is the next packet, or nil after the last.
func (r *segmentReader) peek(ctx context.Context) (*astiav.Packet, error) {
	for !r.full {
		if r.in == nil {
			if r.next == len(r.paths) {
				return nil, nil
			}
			if err := r.open(ctx); err != nil {
				return nil, fmt.Errorf("segment %s: %w", r.paths[r.next], err)
			}
		}
		err := r.in.while(ctx, func() error { return r.in.read(r.packet) })
		if errors.Is(err, astiav.ErrEof) {
			if r.given != len(r.sorted) {
				return nil, fmt.Errorf("segment %s: %w: it changed while it was read", r.in.path, ErrDamaged)
			}
			r.in.Close()
			r.in = nil
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read segment %s: %w", r.in.path, err)
		}
		if r.given >= len(r.sorted) {
			return nil, fmt.Errorf("segment %s: %w: it changed while it was read", r.in.path, ErrDamaged)
		}
		if err := r.stamp(); err != nil {
			return nil, fmt.Errorf("segment %s: %w", r.in.path, err)
		}
		r.full = true
	}
	return r.packet, nil
}

func (r *segmentReader) drop() {
	r.packet.Unref()
	r.full = false
	r.count++
}

// stamp gives the packet the times it has in the whole video.
func (r *segmentReader) stamp() error {
	pts, err := r.ticks(r.in, r.packet.Pts())
	if err != nil {
		return err
	}
	pts += r.firsts[r.next-1]
	at, ok := slices.BinarySearch(r.sorted, pts)
	if !ok {
		return fmt.Errorf("%w: timestamp %d", ErrDamaged, pts)
	}
	dts := r.decode[r.given]
	if dts > pts {
		return fmt.Errorf("picture at %d would be decoded at %d: more than %d pictures are held back", pts, dts, r.depth)
	}
	r.packet.SetPts(pts)
	r.packet.SetDts(dts)
	d := r.duration(at)
	if r.next == len(r.paths) && at+1 == len(r.sorted) {
		r.ending = d
	}
	r.packet.SetDuration(d)
	r.now = dts
	r.given++
	return nil
}

// duration of the open segment's picture number at, in the order they are shown.
func (r *segmentReader) duration(at int) int64 {
	if at+1 < len(r.sorted) {
		return r.sorted[at+1] - r.sorted[at]
	}
	if r.next < len(r.firsts) {
		return r.firsts[r.next] - r.sorted[at]
	}
	if d := r.end - r.sorted[at]; r.end != 0 && d > 0 {
		return d
	}
	if s := r.stream; s.Duration != NoTime && s.Start != NoTime && s.Duration > 0 {
		if d := s.Start + s.Duration - r.sorted[at]; d > 0 {
			return d
		}
	}
	return r.step()
}

// step is the distance of two pictures of the open segment.
func (r *segmentReader) step() int64 {
	if n := len(r.sorted); n > 1 {
		return max((r.sorted[n-1]-r.sorted[0])/int64(n-1), 1)
	}
	if p := r.stream.Picture; p != nil && p.AverageRate.Num > 0 && r.stream.TimeBase.Num > 0 {
		a, tb := p.AverageRate, r.stream.TimeBase
		return max(int64(a.Den)*int64(tb.Den)/(int64(a.Num)*int64(tb.Num)), 1)
	}
	return 1
}

// open opens the next segment and reads all its timestamps, so that the file
// lies in the system's cache when its packets are read.
func (r *segmentReader) open(ctx context.Context) error {
	pts, err := r.scan(ctx, r.paths[r.next])
	if err != nil {
		return err
	}
	first := r.firsts[r.next]
	for i := range pts {
		pts[i] += first
	}
	r.sorted = slices.Sorted(slices.Values(pts))
	for i := 1; i < len(r.sorted); i++ {
		if r.sorted[i] == r.sorted[i-1] {
			return fmt.Errorf("%w: two pictures at %d", ErrDamaged, r.sorted[i])
		}
	}
	if r.sorted[0] != first || pts[0] != first {
		return fmt.Errorf("%w: it begins at %d, not at %d", ErrDamaged, pts[0], first)
	}
	if n := r.next; n+1 < len(r.firsts) && r.sorted[len(r.sorted)-1] >= r.firsts[n+1] {
		return fmt.Errorf("its last picture is at %d, the next segment's first at %d", r.sorted[len(r.sorted)-1], r.firsts[n+1])
	}
	if r.next == 0 {
		r.begin(pts)
	}
	r.decode = append(slices.Clone(r.tail), r.sorted...)
	r.tail = slices.Clone(r.decode[len(r.sorted):])
	r.seams = append(r.seams, int64(len(r.times)))
	r.times = append(r.times, r.sorted...)
	r.given = 0
	if r.in, err = openInput(ctx, r.paths[r.next]); err != nil {
		return err
	}
	r.next++
	return nil
}

// begin finds how many pictures a decoder holds back, and makes up the times
// of decoding before the first picture.
func (r *segmentReader) begin(pts []int64) {
	r.depth = reorderDepth(pts, r.sorted)
	if d := delayOf(r.par); d > r.depth && d <= 16 {
		r.depth = d
	}
	step := r.step()
	r.tail = nil
	for i := range r.depth {
		r.tail = append(r.tail, r.sorted[0]-int64(r.depth-i)*step)
	}
}

// reorderDepth is the least D with: packet i's timestamp isn't before the
// (i − D)-th smallest.
func reorderDepth(pts, sorted []int64) int {
	d := 0
	for i, t := range pts {
		at, _ := slices.BinarySearch(sorted, t)
		d = max(d, i-at)
	}
	return d
}

// ticks turns a time of a segment into one of the source's time base. NUT
// takes a whole fraction of that, so nothing is rounded.
func (r *segmentReader) ticks(in *input, t int64) (int64, error) {
	from, to := in.fc.Streams()[0].TimeBase(), r.stream.TimeBase
	a, b := int64(from.Num())*int64(to.Den), int64(from.Den())*int64(to.Num)
	g := gcd(a, b)
	a, b = a/g, b/g
	if a > math.MaxInt32 || t < 0 || t > math.MaxInt64/a || t*a%b != 0 {
		return 0, fmt.Errorf("%w: timestamp %d of 1/%d s", ErrDamaged, t, from.Den())
	}
	return t * a / b, nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// scan reads the timestamps of a segment in the order of decoding, from its first.
func (r *segmentReader) scan(ctx context.Context, path string) ([]int64, error) {
	p := r.packet
	in, err := openInput(ctx, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var pts []int64
	err = in.while(ctx, func() error {
		for {
			err := in.read(p)
			if errors.Is(err, astiav.ErrEof) {
				return nil
			}
			if err != nil {
				return err
			}
			t := p.Pts()
			p.Unref()
			if t == NoTime {
				return fmt.Errorf("%w: packet %d has no timestamp", ErrDamaged, len(pts))
			}
			if t, err = r.ticks(in, t); err != nil {
				return err
			}
			pts = append(pts, t)
		}
	})
	if err == nil && len(pts) == 0 {
		err = fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	return pts, err
}

// Close may be called again.
func (r *segmentReader) Close() {
	if r.in != nil {
		r.in.Close()
		r.in = nil
	}
	if r.packet != nil {
		r.packet.Free()
		r.packet = nil
	}
	if r.par != nil {
		r.par.Free()
		r.par = nil
	}
}
