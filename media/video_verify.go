package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/asticode/go-astiav"
)

// verify reads a joined file as anyone would and compares it with what went in.
func (j *joiner) verify(ctx context.Context, path string) error {
	in, err := openInput(ctx, path)
	if err != nil {
		return err
	}
	defer in.Close()
	c := &check{j: j, in: in, decoders: map[int]*seam{}}
	defer c.Close()
	if err := c.match(); err != nil {
		return err
	}
	if err := c.main(); err != nil {
		return err
	}
	if err := c.chapters(ctx, path); err != nil {
		return err
	}
	if err := c.read(ctx); err != nil {
		return err
	}
	if err := c.times(); err != nil {
		return err
	}
	return c.packets()
}

// check compares a written file with a joiner's knowledge.
type check struct {
	j        *joiner
	in       *input
	source   []int           // by stream of the file: the source's, or −1
	copies   []*copiedStream // by stream of the file
	pts      []int64         // of the new video, in the order of decoding
	last     int64           // duration of the picture shown last
	lastAt   int64
	decoders map[int]*seam
}

func (c *check) Close() {
	for _, s := range c.decoders {
		s.Close()
	}
}

// match finds the source's stream of each of the file's. Muxers put covers and
// attachments after the others.
func (c *check) match() error {
	still := func(s *astiav.Stream) bool {
		return s.CodecParameters().MediaType() == astiav.MediaTypeAttachment || paramsOf(s).disposition&dispositionCover != 0
	}
	var flowing, stills []int
	sources := c.j.in.fc.Streams()
	for _, i := range c.j.e.Streams {
		if still(sources[i]) {
			stills = append(stills, i)
		} else {
			flowing = append(flowing, i)
		}
	}
	take := func(from *[]int) int {
		if len(*from) == 0 {
			return -1
		}
		i := (*from)[0]
		*from = (*from)[1:]
		return i
	}
	for n, s := range c.in.fc.Streams() {
		i := -1
		switch {
		case still(s):
			i = take(&stills)
		case made(c.j.e.Muxer, s):
		default:
			i = take(&flowing)
		}
		c.source = append(c.source, i)
		var kept *copiedStream
		if i >= 0 {
			if err := c.sameStream(n, i); err != nil {
				return err
			}
			if c.j.copied[i] != nil {
				kept = &copiedStream{hash: newPacketHash()}
			}
		}
		c.copies = append(c.copies, kept)
	}
	if lost := append(flowing, stills...); len(lost) > 0 {
		return fmt.Errorf("stream %d isn't there", lost[0])
	}
	return nil
}

// made tells of a stream that a muxer added by itself.
func made(muxer string, s *astiav.Stream) bool {
	if muxer != muxMOV && muxer != muxMP4 {
		return false
	}
	p := paramsOf(s)
	return s.CodecParameters().MediaType() == astiav.MediaTypeData && (p.tag == tagOf("tmcd") || p.discard)
}

func (c *check) sameStream(n, i int) error {
	got, want := c.in.fc.Streams()[n], c.j.in.fc.Streams()[i]
	codec := want.CodecParameters().CodecID().Name()
	if i == c.j.v.Main {
		codec = c.j.e.Codec
	}
	if name := got.CodecParameters().CodecID().Name(); name != codec {
		return fmt.Errorf("stream %d is %s, want %s", n, name, codec)
	}
	if c.j.e.Muxer != muxFLV {
		if a, b := language(got), language(want); a != b {
			return fmt.Errorf("stream %d has language %q, want %q", n, a, b)
		}
	}
	if got.CodecParameters().MediaType() == astiav.MediaTypeAttachment && want.CodecParameters().MediaType() == astiav.MediaTypeAttachment &&
		!bytes.Equal(got.CodecParameters().ExtraData(), want.CodecParameters().ExtraData()) {
		return fmt.Errorf("attachment %d has other bytes", n)
	}
	return nil
}

func language(s *astiav.Stream) string {
	if l := entries(s.Metadata())["language"]; l != "und" {
		return l
	}
	return ""
}

// main compares what the new video's stream says.
func (c *check) main() error {
	n := slices.Index(c.source, c.j.v.Main)
	if n < 0 {
		return errors.New("the video isn't there")
	}
	s, e := c.in.fc.Streams()[n], c.j.e
	p := c.in.pictureFormat(c.in.stream(n))
	if p.Width != e.Width || p.Height != e.Height {
		return fmt.Errorf("the video is %d×%d, want %d×%d", p.Width, p.Height, e.Width, e.Height)
	}
	if a, b := square(p.SampleAspect), square(e.SampleAspect); a.Num*b.Den != b.Num*a.Den {
		return fmt.Errorf("the pixels' aspect is %d:%d, want %d:%d", a.Num, a.Den, b.Num, b.Den)
	}
	for _, t := range []struct{ what, got, want string }{
		{"colour range", p.Range, e.Range}, {"primaries", p.Primaries, e.Primaries},
		{"transfer", p.Transfer, e.Transfer}, {"matrix", p.Matrix, e.Matrix},
	} {
		limited := t.want == "tv" && t.got == "unknown" // what isn't said is limited
		if t.got != t.want && t.want != "unknown" && t.want != "" && !limited {
			return fmt.Errorf("the video's %s is %s, want %s", t.what, t.got, t.want)
		}
	}
	if got := strings.Replace(p.PixelFormat, "yuvj", "yuv", 1); got != plainFormat(e.PixelFormat) {
		return fmt.Errorf("the video's pixels are %s, want %s", p.PixelFormat, e.PixelFormat)
	}
	want := c.j.v.Stream().Picture
	if p.Rotation != want.Rotation || p.Flip != want.Flip {
		return fmt.Errorf("the video is turned by %d° (mirrored: %t), want %d° (%t)", p.Rotation, p.Flip, want.Rotation, want.Flip)
	}
	if c.in.fc.Streams()[n].CodecParameters().CodecID() != s.CodecParameters().CodecID() {
		return errors.New("the video has another codec")
	}
	return nil
}

// plainFormat is what a decoder gives for an encoder's format.
func plainFormat(f string) string {
	switch f {
	case "nv12":
		return "yuv420p"
	case "nv16":
		return "yuv422p"
	case "p010le":
		return "yuv420p10le"
	}
	return f
}

func square(r Rational) Rational {
	if r.Num < 1 || r.Den < 1 {
		return Rational{1, 1}
	}
	return r
}

// chapterless are the containers without chapters.
var chapterless = map[string]bool{muxTS: true, muxFLV: true, mux3GP: true}

func (c *check) chapters(ctx context.Context, path string) error {
	if chapterless[c.j.e.Muxer] {
		return nil
	}
	got, err := ProbeVideo(ctx, path)
	if err != nil {
		return err
	}
	if len(got.Chapters) != len(c.j.v.Chapters) {
		return fmt.Errorf("%d chapters, want %d", len(got.Chapters), len(c.j.v.Chapters))
	}
	for i, g := range got.Chapters {
		w := c.j.v.Chapters[i]
		if d := (g.Start - w.Start).Abs().Milliseconds(); d > 1 || g.Metadata["title"] != w.Metadata["title"] {
			return fmt.Errorf("chapter %d is %q at %v, want %q at %v", i, g.Metadata["title"], g.Start, w.Metadata["title"], w.Start)
		}
	}
	return nil
}

// read goes through all packets.
func (c *check) read(ctx context.Context) error {
	p := astiav.AllocPacket()
	defer p.Free()
	main := slices.Index(c.source, c.j.v.Main)
	tb := c.in.fc.Streams()[main].TimeBase()
	span := c.j.video.times[len(c.j.video.times)-1] - c.j.video.times[0] + 1
	var ended string
	for n := 0; ; n++ {
		if n%64 == 0 && len(c.pts) > 0 {
			done := c.j.video.times[min(len(c.pts), len(c.j.video.times))-1] - c.j.video.times[0]
			c.j.progress(0.7 + 0.3*float64(done)/float64(span))
		}
		err := c.in.while(ctx, func() error { return c.in.next(p, &ended) })
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read it: %w", err)
		}
		i := p.StreamIndex()
		switch {
		case i == main:
			if len(c.pts) == 0 || p.Pts() > c.lastAt {
				c.lastAt, c.last = p.Pts(), p.Duration()
			}
			if err := c.seams(p, tb); err != nil {
				return err
			}
			c.pts = append(c.pts, p.Pts())
		case i < len(c.copies) && c.copies[i] != nil:
			k := c.copies[i]
			k.hash.add(p, 0)
			k.count++
			k.bytes += int64(p.Size())
			k.pts = append(k.pts, p.Pts())
		}
		p.Unref()
	}
	if ended != "" {
		return errors.New(ended)
	}
	for k, s := range c.decoders {
		if err := s.finish(); err != nil {
			return fmt.Errorf("from picture %d on: %w", k, err)
		}
	}
	return nil
}

// times compares the new video's timestamps.
func (c *check) times() error {
	want := c.j.video.times
	if e := c.j.o.Expect.Frames; e > 0 && int64(len(want)) != e {
		return fmt.Errorf("the segments have %d pictures, want %d", len(want), e)
	}
	if len(c.pts) != len(want) {
		return fmt.Errorf("%d pictures, want %d", len(c.pts), len(want))
	}
	slices.Sort(c.pts)
	got := c.in.fc.Streams()[slices.Index(c.source, c.j.v.Main)].TimeBase()
	gb, wb := seconds(got), rationalSeconds(c.j.v.Stream().TimeBase)
	tick := tolerance(gb, wb)
	for i, w := range want {
		if d := math.Abs(float64(c.pts[i])*gb - float64(w)*wb); d > tick {
			return fmt.Errorf("picture %d is shown at %.6f s, want %.6f s", i, float64(c.pts[i])*gb, float64(w)*wb)
		}
	}
	if c.last > 0 {
		if d := math.Abs(float64(c.last)*gb - float64(c.j.video.ending)*wb); d > float64(c.j.video.step())*wb+tick {
			return fmt.Errorf("the last picture is shown for %.6f s, want %.6f s", float64(c.last)*gb, float64(c.j.video.ending)*wb)
		}
	}
	return nil
}

func seconds(r astiav.Rational) float64  { return float64(r.Num()) / float64(max(r.Den(), 1)) }
func rationalSeconds(r Rational) float64 { return float64(r.Num) / float64(max(r.Den, 1)) }

// tolerance is one tick of the coarser of two time bases, or nothing but
// float64's rounding where they are the same.
func tolerance(a, b float64) float64 {
	if a == b {
		return a / 4
	}
	return max(a, b) * 1.001
}

// packets compares the streams that were copied.
func (c *check) packets() error {
	for n, got := range c.copies {
		if got == nil {
			continue
		}
		i := c.source[n]
		want := c.j.copied[i]
		if got.bytes != want.bytes || got.hash.sum() != want.hash.sum() {
			return fmt.Errorf("stream %d has %d packets of %d bytes, the source %d of %d, or other bytes in them", n, got.count, got.bytes, want.count, want.bytes)
		}
		if got.count != want.count {
			continue // raw samples, which a demuxer cuts as it likes
		}
		gb, wb := seconds(c.in.fc.Streams()[n].TimeBase()), seconds(c.j.in.fc.Streams()[i].TimeBase())
		for k := range got.pts {
			if got.pts[k] == NoTime || want.pts[k] == NoTime || want.fixed > 0 {
				continue
			}
			g, w := float64(got.pts[k])*gb, float64(want.pts[k])*wb
			if math.Abs(g-w) > tolerance(gb, wb) {
				return fmt.Errorf("packet %d of stream %d is at %.6f s, want %.6f s", k, n, g, w)
			}
		}
	}
	return nil
}

// seam decodes a few packets from a segment's first on, as after a seek there.
type seam struct {
	cc   *astiav.CodecContext
	sent int
	got  int
}

// seamPackets are decoded at each seam.
const seamPackets = 6

// seams feeds the decoders that have begun at the last seams.
func (c *check) seams(p *astiav.Packet, tb astiav.Rational) error {
	n := len(c.pts)
	if _, ok := slices.BinarySearch(c.j.video.seams, int64(n)); ok {
		if !keyframe(p) {
			return fmt.Errorf("picture %d, where a segment begins, is no keyframe", n)
		}
		cc, err := rawDecoder(c.in.fc.Streams()[p.StreamIndex()].CodecParameters())
		if err != nil {
			return err
		}
		c.decoders[n] = &seam{cc: cc}
	}
	for k, s := range c.decoders {
		err := s.decode(p)
		if err == nil && s.sent == seamPackets {
			err = s.finish()
			s.Close()
			delete(c.decoders, k)
		}
		if err != nil {
			return fmt.Errorf("from picture %d on: %w", k, err)
		}
	}
	return nil
}

func (s *seam) decode(p *astiav.Packet) error {
	if err := s.cc.SendPacket(p); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	s.sent++
	return s.receive()
}

func (s *seam) receive() error {
	f := astiav.AllocFrame()
	defer f.Free()
	for {
		err := s.cc.ReceiveFrame(f)
		if errors.Is(err, astiav.ErrEagain) || errors.Is(err, astiav.ErrEof) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("decode: %w", err)
		}
		s.got++
		f.Unref()
	}
}

func (s *seam) finish() error {
	if err := s.cc.SendPacket(nil); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if err := s.receive(); err != nil {
		return err
	}
	if s.got != s.sent {
		return fmt.Errorf("%d pictures of %d packets", s.got, s.sent)
	}
	return nil
}

func (s *seam) Close() {
	if s.cc != nil {
		s.cc.Free()
		s.cc = nil
	}
}

// rawDecoder decodes packets that it is given, and fails at any damage.
func rawDecoder(par *astiav.CodecParameters) (*astiav.CodecContext, error) {
	codec := astiav.FindDecoder(par.CodecID())
	if codec == nil {
		return nil, fmt.Errorf("%w: nothing here decodes %s", ErrUnsupported, par.CodecID().Name())
	}
	cc := astiav.AllocCodecContext(codec)
	if cc == nil {
		return nil, errors.New("out of memory")
	}
	d := astiav.NewDictionary()
	defer d.Free()
	err := errors.Join(par.ToCodecContext(cc), d.Set("err_detect", "explode", 0))
	if err == nil {
		cc.SetThreadCount(1)
		err = cc.Open(codec, d)
	}
	if err != nil {
		cc.Free()
		return nil, fmt.Errorf("the decoder %s doesn't start: %w", codec.Name(), err)
	}
	return cc, nil
}

func keyframe(p *astiav.Packet) bool { return p.Flags()&astiav.PacketFlags(astiav.PacketFlagKey) != 0 }
