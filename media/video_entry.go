package media

// #include "video_read.h"
import "C"

import (
	"bytes"
	"unsafe"

	"github.com/asticode/go-astiav"
)

// entry tells whether decoding can begin with a packet of the stream and give,
// from this picture on, the same as a decoder that has seen all before. What
// containers and parsers call a keyframe includes, in H.264, the beginning of a
// gradual refresh, from which a picture is never quite the same.
func (in *input) entry(p *astiav.Packet) bool {
	if p.Flags()&astiav.PacketFlags(astiav.PacketFlagKey) == 0 {
		return false
	}
	a := (*C.AVPacket)(pointer(p))
	s := in.stream(int(a.stream_index))
	if s.codecpar.codec_id != C.AV_CODEC_ID_H264 || a.size == 0 {
		return true
	}
	length := 0
	if n := s.codecpar.extradata_size; n > 4 {
		if x := unsafe.Slice((*byte)(unsafe.Pointer(s.codecpar.extradata)), int(n)); x[0] == 1 {
			length = int(x[4]&3) + 1
		}
	}
	return entryH264(packetBytes(a), length)
}

// entryH264 looks for an IDR picture, or a recovery point at once. length is
// that of the units' sizes; 0: they begin with start codes.
func entryH264(b []byte, length int) bool {
	for unit := range unitsH264(b, length) {
		if len(unit) == 0 {
			continue
		}
		switch unit[0] & 0x1f {
		case 5:
			return true
		case 6:
			if recoversAtOnce(unit[1:]) {
				return true
			}
		case 1, 2:
			return false
		}
	}
	return false
}

// unitsH264 goes through the units of a packet.
func unitsH264(b []byte, length int) func(yield func([]byte) bool) {
	start := []byte{0, 0, 1}
	return func(yield func([]byte) bool) {
		for length > 0 && len(b) > length {
			n := 0
			for _, c := range b[:length] {
				n = n<<8 | int(c)
			}
			b = b[length:]
			n = min(n, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
		for length == 0 {
			i := bytes.Index(b, start)
			if i < 0 {
				return
			}
			b = b[i+3:]
			end := bytes.Index(b, start)
			if end < 0 {
				end = len(b)
			}
			if !yield(b[:end]) {
				return
			}
			b = b[end:]
		}
	}
}

// recoversAtOnce looks in a unit of supplemental information for a recovery
// point with no pictures to wait for.
func recoversAtOnce(b []byte) bool {
	for len(b) > 2 && b[0] != 0x80 {
		kind, size := 0, 0
		for _, v := range []*int{&kind, &size} {
			for len(b) > 0 && b[0] == 255 {
				*v += 255
				b = b[1:]
			}
			if len(b) == 0 {
				return false
			}
			*v += int(b[0])
			b = b[1:]
		}
		if kind == 6 {
			return len(b) > 0 && b[0]&0x80 != 0 // the number 0 is written as a bit of 1
		}
		b = b[min(size, len(b)):]
	}
	return false
}
