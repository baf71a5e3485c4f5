package media

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/asticode/go-astiav"
)

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
		if errors.Is(err, io.EOF) {
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
