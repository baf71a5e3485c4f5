package media

// #include "video_read.h"
import "C"

import (
	"bytes"
	"errors"
	"math/bits"
	"unsafe"

	"github.com/asticode/go-astiav"
)

// counter tells how many pictures a decoder makes of a packet.
type counter struct {
	codec  string
	parser *C.AVCodecParserContext // H.264
	cc     *C.AVCodecContext
	vop    vopReader // MPEG-4
}

func newCounter(s *C.AVStream, codec string) (*counter, error) {
	c := &counter{codec: codec}
	switch codec {
	case "h264":
		c.parser = C.av_parser_init(C.AV_CODEC_ID_H264)
		c.cc = C.avcodec_alloc_context3(nil)
		if c.parser == nil || c.cc == nil {
			c.Close()
			return nil, errors.New("out of memory")
		}
		c.parser.flags |= C.PARSER_FLAG_COMPLETE_FRAMES
		if err := avError(C.avcodec_parameters_to_context(c.cc, s.codecpar)); err != nil {
			c.Close()
			return nil, err
		}
	case "mpeg4":
		if n := s.codecpar.extradata_size; n > 0 {
			c.vop.read(C.GoBytes(unsafe.Pointer(s.codecpar.extradata), n))
		}
	}
	return c, nil
}

func (c *counter) Close() {
	if c.parser != nil {
		C.av_parser_close(c.parser)
		c.parser = nil
	}
	C.avcodec_free_context(&c.cc)
}

// pictures is how many a decoder gives for the packet, undamaged.
func (c *counter) pictures(p *astiav.Packet) int64 {
	a := (*C.AVPacket)(pointer(p))
	if a.size == 0 || a.flags&C.AV_PKT_FLAG_DISCARD != 0 {
		return 0
	}
	switch c.codec {
	case "h264":
		return c.field(a)
	case "mpeg4":
		return c.vop.picture(packetBytes(a))
	case "vp8":
		if packetBytes(a)[0]&0x10 == 0 { // not to be shown
			return 0
		}
	case "vp9":
		if hiddenVP9(packetBytes(a)) {
			return 0
		}
	}
	return 1
}

// field is 0 for the second field of a picture whose first one was a packet of
// its own, and 1 for any other.
func (c *counter) field(a *C.AVPacket) int64 {
	var out *C.uint8_t
	var size C.int
	C.av_parser_parse2(c.parser, c.cc, &out, &size, a.data, a.size, a.pts, a.dts, a.pos)
	single := c.parser.picture_structure == C.AV_PICTURE_STRUCTURE_TOP_FIELD || c.parser.picture_structure == C.AV_PICTURE_STRUCTURE_BOTTOM_FIELD
	paired := c.parser.field_order == C.AV_FIELD_TT || c.parser.field_order == C.AV_FIELD_BB
	if single && paired {
		return 0
	}
	return 1
}

// hiddenVP9 tells whether a packet is one frame that isn't shown. A superframe
// shows its last.
func hiddenVP9(b []byte) bool {
	if b[len(b)-1]&0xe0 == 0xc0 { // may be a superframe's index
		return false
	}
	r := bitReader{b: b}
	r.bits(2)
	if profile := r.bits(1) | r.bits(1)<<1; profile == 3 {
		r.bits(1)
	}
	if r.bits(1) == 1 { // shows a frame that is there
		return false
	}
	r.bits(1)
	return r.bits(1) == 0
}

// vopReader reads of MPEG-4 what tells how many pictures there are.
type vopReader struct {
	timeBits int
	pending  int64 // pictures that came packed with another and are decoded with the next packet
}

// picture is 1 if the decoder gives one for the packet, else 0.
func (v *vopReader) picture(b []byte) int64 {
	v.pending += v.read(b)
	if v.pending == 0 {
		return 0
	}
	v.pending--
	return 1
}

// read counts the coded pictures in b. Packed B-frames are two in one packet,
// and then a packet whose picture isn't coded.
func (v *vopReader) read(b []byte) (n int64) {
	for {
		i := bytes.Index(b, []byte{0, 0, 1})
		if i < 0 || i+4 > len(b) {
			return n
		}
		code := b[i+3]
		b = b[i+4:]
		switch {
		case code >= 0x20 && code <= 0x2f:
			v.layer(b)
		case code == 0xb6 && v.coded(b):
			n++
		}
	}
}

func (v *vopReader) coded(b []byte) bool {
	if v.timeBits == 0 {
		return true
	}
	r := bitReader{b: b}
	r.bits(2)
	for r.bits(1) == 1 && r.at < 8*len(b) {
	}
	r.bits(1 + v.timeBits + 1)
	return r.bits(1) == 1
}

// layer reads the video object layer's header up to the resolution of times.
func (v *vopReader) layer(b []byte) {
	r := bitReader{b: b}
	r.bits(9)
	version := 1
	if r.bits(1) == 1 {
		version = r.bits(4)
		r.bits(3)
	}
	if r.bits(4) == 15 { // a pixel's aspect
		r.bits(16)
	}
	if r.bits(1) == 1 { // control parameters
		r.bits(3)
		if r.bits(1) == 1 {
			r.at += 79
		}
	}
	if shape := r.bits(2); shape == 3 && version != 1 {
		r.bits(4)
	}
	r.bits(1)
	if resolution := r.bits(16); resolution > 0 {
		v.timeBits = max(1, bits.Len(uint(resolution-1)))
	}
}

// bitReader reads bits, the highest first; zeros after the end.
type bitReader struct {
	b  []byte
	at int
}

func (r *bitReader) bits(n int) int {
	v := 0
	for range n {
		v <<= 1
		if i := r.at / 8; i < len(r.b) {
			v |= int(r.b[i]) >> (7 - r.at%8) & 1
		}
		r.at++
	}
	return v
}
