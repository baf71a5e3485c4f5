package media

// #include "video_write.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/asticode/go-astiav"
)

// JoinOptions of JoinVideo.
type JoinOptions struct {
	// Provenance marks the video as partly made by a model (DigitalSource).
	Provenance bool
	// Overwrite replaces an existing file, though never the original itself.
	Overwrite bool
	// Progress is told the share that is done, 0 to 1.
	Progress func(done float64)
	// Expect is what the video must have: Frames pictures in all (0: unknown),
	// the last of which ends at End.
	Expect Index
}

// ErrVerify says that a joined video isn't what it should be. The segments are as they were.
var ErrVerify = errors.New("the result differs from the original")

// JoinInfo is what JoinVideo wrote.
type JoinInfo struct {
	Path   string   `json:"path"` // the real path: OutputPath of the one asked for
	Muxer  string   `json:"muxer"`
	Bytes  int64    `json:"bytes"`
	Frames int64    `json:"frames"`
	Copied int      `json:"copied"` // streams that are the source's, bit for bit
	Notes  []string `json:"notes,omitempty"`
}

// JoinVideo makes out from the segments' packets and all other streams of v, as
// they are, with their times, chapters, tags and attachments, and the source's
// mode and modification time. It reads the result again and compares before it
// lets it appear. Segments must be complete, in order, and of one Encoding. An
// existing file gives ErrExists unless o.Overwrite. Missing folders are made.
func JoinVideo(ctx context.Context, v *Video, e Encoding, segments []string, out string, o JoinOptions) (JoinInfo, error) {
	quiet()
	path := e.OutputPath(out)
	info, err := joinVideo(ctx, v, e, segments, path, o)
	if err != nil {
		return JoinInfo{}, fmt.Errorf("join %s: %w", path, err)
	}
	return info, nil
}

func joinVideo(ctx context.Context, v *Video, e Encoding, segments []string, path string, o JoinOptions) (info JoinInfo, err error) {
	if err := ctx.Err(); err != nil {
		return info, err
	}
	in, err := openInput(ctx, v.Path)
	if err != nil {
		return info, err
	}
	defer in.Close()
	like, err := in.file.Stat()
	if err != nil {
		return info, err
	}
	if err := free(path, like, o.Overwrite); err != nil {
		return info, err
	}
	if n := in.fc.NbStreams(); n < len(v.Streams) || v.Main >= n {
		return info, fmt.Errorf("%w: %s has %d streams, %d when it was probed", ErrDamaged, v.Path, n, len(v.Streams))
	}
	j := &joiner{v: v, e: &e, o: &o, in: in}
	defer j.Close()
	if err := j.openSegments(ctx, segments); err != nil {
		return info, err
	}
	tmp, err := newTemp(path)
	if err != nil {
		return info, err
	}
	defer func() {
		if e := os.Remove(tmp); err != nil && e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	if err := j.write(ctx, tmp); err != nil {
		return info, err
	}
	if err := j.verify(ctx, tmp); err != nil {
		return info, fmt.Errorf("%w: %w", ErrVerify, err)
	}
	f, err := os.OpenFile(tmp, os.O_RDWR, 0)
	if err != nil {
		return info, err
	}
	st, err := f.Stat()
	if err == nil {
		err = finish(f, like)
	}
	if err != nil {
		f.Close()
		return info, err
	}
	if err := rename(tmp, path, o.Overwrite); err != nil {
		return info, err
	}
	info = JoinInfo{
		Path: path, Muxer: e.Muxer, Bytes: st.Size(), Frames: j.video.count, Copied: len(e.Streams) - 1,
		Notes: append(slices.Clone(e.Notes), j.notes...),
	}
	return info, syncFolder(filepath.Dir(path))
}

// joiner is one run of JoinVideo.
type joiner struct {
	v      *Video
	e      *Encoding
	o      *JoinOptions
	in     *input
	video  *segmentReader
	out    *output
	copied []*copiedStream // by source stream; nil: not copied by packets
	notes  []string
}

// copiedStream is what is known of a stream after its packets are copied.
type copiedStream struct {
	hash  *packetHash
	count int64
	bytes int64
	pts   []int64 // in the source's time base
	skip  int     // bytes at each packet's start that the new container doesn't keep
	shift int64   // ticks of the output that the muxer forgets to add
	last  int64   // DTS in the output's time base
	fixed int64   // packets whose times had to be moved
}

func (j *joiner) Close() {
	if j.video != nil {
		j.video.Close()
	}
	if j.out != nil {
		j.out.Free()
	}
}

func (j *joiner) progress(share float64) {
	if j.o.Progress != nil {
		j.o.Progress(min(max(share, 0), 1))
	}
}

// openSegments looks at every segment before anything is written.
func (j *joiner) openSegments(ctx context.Context, paths []string) error {
	r, err := openSegmentReader(ctx, paths, j.e, j.v.Stream())
	if err != nil {
		return err
	}
	j.video = r
	r.end = j.o.Expect.End
	return nil
}

// write makes the whole file at tmp.
func (j *joiner) write(ctx context.Context, tmp string) (err error) {
	if j.out, err = j.e.newOutput(j.e.Muxer, tmp, j.in, j.v.Main, j.video.par, j.e.Streams, j.o.Provenance); err != nil {
		return err
	}
	o := j.out
	if o.pb, err = createFile(tmp); err != nil {
		return err
	}
	o.fc.SetPb(o.pb)
	if err := o.fc.WriteHeader(o.opts); err != nil {
		return fmt.Errorf("write the header: %w", nativeError(err))
	}
	j.follow()
	if err := j.interleave(ctx); err != nil {
		return err
	}
	if err := o.fc.WriteTrailer(); err != nil {
		return fmt.Errorf("write the end: %w", nativeError(err))
	}
	pb := o.pb
	o.pb = nil
	if err := closeFile(o.fc, pb); err != nil {
		return err
	}
	j.notes = append(j.notes, o.notes...)
	return j.addTags(tmp)
}

// addTags puts into the finished file what FFmpeg doesn't write.
func (j *joiner) addTags(tmp string) error {
	if m := j.e.Muxer; m != muxMP4 && m != muxMOV {
		return nil
	}
	f, err := os.OpenFile(tmp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if j.out.free != nil {
		if err := j.out.free.put(f); err != nil {
			return fmt.Errorf("write the tags: %w", err)
		}
	}
	xmp, err := readXMP(j.in.file)
	if err != nil {
		return fmt.Errorf("read the source's XMP: %w", err)
	}
	if j.o.Provenance {
		made, why := addProvenance(xmp, 0)
		if why != nil {
			j.notes = append(j.notes, "no provenance tag in the XMP: "+why.Error())
		} else {
			xmp = made
		}
	}
	if err := putXMP(f, xmp); err != nil {
		return fmt.Errorf("write the XMP: %w", err)
	}
	return nil
}

// follow prepares for the packets that are copied and tells the demuxer which aren't.
func (j *joiner) follow() {
	j.copied = make([]*copiedStream, j.in.fc.NbStreams())
	for i, s := range j.in.fc.Streams() {
		t := j.out.target[i]
		attached := t >= 0 && j.out.fc.Streams()[t].CodecParameters().MediaType() == astiav.MediaTypeAttachment
		if t < 0 || i == j.v.Main || attached {
			setDiscard(s)
			continue
		}
		c := &copiedStream{hash: newPacketHash(), last: NoTime}
		if s.CodecParameters().CodecID() == astiav.CodecIDAac && j.e.Muxer != muxTS && j.v.Format == muxTS {
			c.skip = adtsHeader
		}
		if m := j.e.Muxer; m == muxMatroska || m == muxWebM {
			c.shift = opusDelay(j.out.fc.Streams()[t])
		}
		j.copied[i] = c
	}
}

// adtsHeader is the length of the header before each AAC packet in a transport stream.
const adtsHeader = 7

// interleave writes all packets in the order of their decoding.
func (j *joiner) interleave(ctx context.Context) error {
	other := &packetSource{in: j.in}
	defer other.Close()
	any := slices.ContainsFunc(j.copied, func(c *copiedStream) bool { return c != nil })
	if !any {
		other.done = true
	}
	vtb := j.v.Stream().TimeBase
	first, end := j.video.firsts[0], max(j.video.last(), j.video.firsts[0]+1)
	for n := 0; ; n++ {
		if n%64 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			j.progress(0.7 * float64(j.video.at()-first) / float64(end-first))
		}
		vp, err := j.video.peek(ctx)
		if err != nil {
			return err
		}
		op, err := other.peek(ctx, j.copied)
		if err != nil {
			return err
		}
		switch {
		case vp == nil && op == nil:
			if other.ended != "" {
				j.notes = append(j.notes, "the source: "+other.ended)
			}
			return nil
		case op == nil || vp != nil && !before(op, other.timeBase(), vp.Dts(), vtb):
			err = j.putVideo(vp)
			j.video.drop()
		default:
			err = j.putCopied(op)
			other.drop()
		}
		if err != nil {
			return err
		}
	}
}

// before tells whether a packet is decoded before time t of time base tb.
func before(p *astiav.Packet, ptb Rational, t int64, tb Rational) bool {
	d := p.Dts()
	if d == NoTime {
		d = p.Pts()
	}
	if d == NoTime {
		return true
	}
	return float64(d)*float64(ptb.Num)/float64(ptb.Den) <= float64(t)*float64(tb.Num)/float64(tb.Den)
}

func (j *joiner) putVideo(p *astiav.Packet) error {
	st := j.out.fc.Streams()[j.out.main]
	tb := j.v.Stream().TimeBase
	p.RescaleTs(astiav.NewRational(tb.Num, tb.Den), st.TimeBase())
	p.SetStreamIndex(j.out.main)
	p.SetPos(-1)
	if err := j.out.put(p); err != nil {
		return fmt.Errorf("write the video: %w", nativeError(err))
	}
	return nil
}

func (j *joiner) putCopied(p *astiav.Packet) error {
	i := p.StreamIndex()
	c, t := j.copied[i], j.out.target[i]
	from, to := j.in.fc.Streams()[i].TimeBase(), j.out.fc.Streams()[t].TimeBase()
	c.hash.add(p, c.skip)
	c.count++
	c.bytes += int64(p.Size() - c.skip)
	c.pts = append(c.pts, p.Pts())
	p.RescaleTs(from, to)
	c.ascend(p)
	if c.shift != 0 && p.Pts() != NoTime {
		p.SetPts(p.Pts() + c.shift)
		p.SetDts(p.Dts() + c.shift)
	}
	p.SetStreamIndex(t)
	p.SetPos(-1)
	if err := j.out.put(p); err != nil {
		return fmt.Errorf("write stream %d: %w", i, nativeError(err))
	}
	return nil
}

// ascend moves times that go back, which no muxer takes.
func (c *copiedStream) ascend(p *astiav.Packet) {
	d := p.Dts()
	if d == NoTime {
		d = p.Pts()
	}
	if d == NoTime {
		return
	}
	if c.last != NoTime && d < c.last {
		c.fixed++
		d = c.last
	}
	p.SetDts(d)
	if p.Pts() != NoTime && p.Pts() < d {
		p.SetPts(d)
	}
	c.last = d
}

// put gives a packet to the muxer, which empties it.
func (o *output) put(p *astiav.Packet) error {
	if err := o.fc.WriteInterleavedFrame(p); err != nil {
		return err
	}
	return avError(C.vw_io_error((*C.AVFormatContext)(pointer(o.fc))))
}

func setDiscard(s *astiav.Stream) { C.vw_discard((*C.AVStream)(pointer(s)), 1) }

// packetSource gives the packets of the source's streams that are copied.
type packetSource struct {
	in    *input
	p     *astiav.Packet
	full  bool
	done  bool
	ended string // why the file ended too early
}

// peek is the next packet, or nil at the end.
func (s *packetSource) peek(ctx context.Context, want []*copiedStream) (*astiav.Packet, error) {
	if s.full {
		return s.p, nil
	}
	if s.p == nil {
		if s.p = astiav.AllocPacket(); s.p == nil {
			return nil, errors.New("out of memory")
		}
	}
	for !s.done {
		err := s.in.while(ctx, func() error { return s.in.next(s.p, &s.ended) })
		if err == io.EOF {
			s.done = true
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.in.path, err)
		}
		if i := s.p.StreamIndex(); i < len(want) && want[i] != nil {
			s.full = true
			return s.p, nil
		}
		s.p.Unref()
	}
	return nil, nil
}

func (s *packetSource) timeBase() Rational {
	if !s.full {
		return Rational{1, 1}
	}
	tb := s.in.fc.Streams()[s.p.StreamIndex()].TimeBase()
	return Rational{tb.Num(), tb.Den()}
}

func (s *packetSource) drop() {
	s.p.Unref()
	s.full = false
}

func (s *packetSource) Close() {
	if s.p != nil {
		s.p.Free()
		s.p = nil
	}
}
