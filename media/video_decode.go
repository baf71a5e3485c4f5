package media

// #include <errno.h>
// #include "video_read.h"
import "C"

import (
	"errors"
	"fmt"
	"io"

	"github.com/asticode/go-astiav"
)

// decoder turns the packets of one stream of an input into pictures.
type decoder struct {
	in      *input
	index   int
	cc      *astiav.CodecContext
	packet  *astiav.Packet
	frame   *astiav.Frame
	queue   []*astiav.Packet // given to the decoder before any that is read
	drained bool
	corrupt int64  // signs of damage
	ended   string // why the demuxer ended before the file did, if it did
}

// openDecoder makes a decoder of the stream. threads of 0: one a core.
func openDecoder(in *input, index, threads int) (*decoder, error) {
	s := in.stream(index)
	codec := astiav.FindDecoder(astiav.CodecID(s.codecpar.codec_id))
	if codec == nil {
		return nil, fmt.Errorf("%w: nothing here decodes %s", ErrUnsupported, C.GoString(C.avcodec_get_name(s.codecpar.codec_id)))
	}
	d := &decoder{in: in, index: index, cc: astiav.AllocCodecContext(codec), packet: astiav.AllocPacket(), frame: astiav.AllocFrame()}
	if d.cc == nil || d.packet == nil || d.frame == nil {
		d.Close()
		return nil, errors.New("out of memory")
	}
	c := (*C.AVCodecContext)(pointer(d.cc))
	err := avError(C.avcodec_parameters_to_context(c, s.codecpar))
	if err == nil {
		c.pkt_timebase = s.time_base
		c.max_pixels = maxSide * maxSide
		d.cc.SetThreadCount(threads)
		err = d.cc.Open(codec, nil)
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("%w: the decoder %s doesn't start: %w", ErrUnsupported, codec.Name(), err)
	}
	return d, nil
}

// Close may be called again.
func (d *decoder) Close() {
	for _, p := range d.queue {
		p.Free()
	}
	d.queue = nil
	if d.packet != nil {
		d.packet.Free()
		d.packet = nil
	}
	if d.frame != nil {
		d.frame.Free()
		d.frame = nil
	}
	if d.cc != nil {
		d.cc.Free()
		d.cc = nil
	}
}

// maxFailures is how often, in a row, a decoder may fail without taking a packet.
const maxFailures = 1000

// picture is the next decoded picture: d.frame, until the next call. After the
// last it is io.EOF. Damage is counted and skipped.
func (d *decoder) picture() (*astiav.Frame, error) {
	for failures := 0; ; {
		err := d.cc.ReceiveFrame(d.frame)
		switch {
		case err == nil:
			c := (*C.AVFrame)(pointer(d.frame))
			if c.flags&C.AV_FRAME_FLAG_CORRUPT != 0 || c.decode_error_flags != 0 {
				d.corrupt++
			}
			return d.frame, nil
		case errors.Is(err, astiav.ErrEof):
			return nil, io.EOF
		case !errors.Is(err, astiav.ErrEagain):
			if failures++; fatal(err) || failures > maxFailures {
				return nil, err
			}
			d.corrupt++
			continue
		}
		if err := d.feed(); err != nil {
			return nil, err
		}
	}
}

// feed gives the decoder one packet, or the end.
func (d *decoder) feed() error {
	p, err := d.next()
	if errors.Is(err, io.EOF) {
		if d.drained {
			return io.EOF
		}
		d.drained = true
		p, err = nil, nil
	}
	if err != nil {
		return err
	}
	err = d.cc.SendPacket(p)
	if p != nil {
		p.Unref()
		if p != d.packet {
			p.Free()
		}
	}
	if err != nil && !errors.Is(err, astiav.ErrEof) {
		if fatal(err) {
			return err
		}
		d.corrupt++
	}
	return nil
}

// next is the stream's next packet that isn't empty, or io.EOF.
func (d *decoder) next() (*astiav.Packet, error) {
	if len(d.queue) > 0 {
		p := d.queue[0]
		d.queue = d.queue[1:]
		return p, nil
	}
	for {
		d.packet.Unref()
		if err := d.in.next(d.packet, &d.ended); err != nil {
			return nil, err
		}
		if d.packet.StreamIndex() == d.index && d.packet.Size() > 0 {
			if d.packet.Flags()&astiav.PacketFlags(astiav.PacketFlagCorrupt) != 0 {
				d.corrupt++ // a decoder often makes something of it
			}
			return d.packet, nil
		}
	}
}

// next reads a packet of any stream, or io.EOF. Where the demuxer gives up,
// that is the end too, and the reason goes into ended.
func (in *input) next(p *astiav.Packet, ended *string) error {
	for range 1000 {
		err := in.fc.ReadFrame(p)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, astiav.ErrExit):
			return err
		case in.ioError() != nil:
			return in.ioError()
		case errors.Is(err, astiav.ErrEof):
			return io.EOF
		case errors.Is(err, astiav.ErrEagain):
			continue
		case fatal(err):
			return err
		}
		*ended = fmt.Sprintf("the container can't be read beyond byte %d: %v", int64(C.vr_io_pos(in.io)), err)
		return io.EOF
	}
	*ended = "the demuxer finds no more packets"
	return io.EOF
}

// fatal are errors that aren't the file's fault.
func fatal(err error) bool {
	return errors.Is(err, astiav.Error(-C.ENOMEM)) || errors.Is(err, astiav.ErrExit)
}
