package media

import (
	"errors"
	"fmt"
	"slices"

	"github.com/asticode/go-astiav"
)

// seam decodes a few packets from a segment's first on, as after a seek there.
type seam struct {
	cc   *astiav.CodecContext
	sent int
	got  int
}

// seamPackets are decoded at each seam.
const seamPackets = 6

// seams feeds the decoders that have begun at the last seams.
func (c *check) seams(p *astiav.Packet) error {
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
