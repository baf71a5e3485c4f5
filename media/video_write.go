package media

// #cgo pkg-config: libavformat libavcodec libavutil libswscale
// #include <stdlib.h>
// #include "video_write.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/asticode/go-astiav"
)

// HDR is what a mastering display was and how bright pictures get, in the units
// of the codecs' messages.
type HDR struct {
	// Primaries are x and y of red, green, blue and white in 1/50000.
	Primaries [8]int `json:"primaries,omitempty"`
	// MaxLuminance and MinLuminance are in 1/10000 cd/m²; both 0: unknown.
	MaxLuminance uint `json:"max_luminance,omitempty"`
	MinLuminance uint `json:"min_luminance,omitempty"`
	// MaxCLL and MaxFALL are in cd/m²; both 0: unknown.
	MaxCLL  uint `json:"max_cll,omitempty"`
	MaxFALL uint `json:"max_fall,omitempty"`
}

func (h *HDR) mastering() bool { return h.MaxLuminance != 0 }
func (h *HDR) light() bool     { return h.MaxCLL != 0 || h.MaxFALL != 0 }

func hdrFromC(c *C.vw_hdr) *HDR {
	h := &HDR{}
	if c.has_mastering != 0 {
		for i, v := range []C.int{c.rx, c.ry, c.gx, c.gy, c.bx, c.by, c.wx, c.wy} {
			h.Primaries[i] = int(v)
		}
		h.MaxLuminance, h.MinLuminance = uint(c.max_lum), uint(c.min_lum)
	}
	if c.has_light != 0 {
		h.MaxCLL, h.MaxFALL = uint(c.max_cll), uint(c.max_fall)
	}
	if !h.mastering() && !h.light() {
		return nil
	}
	return h
}

func (h *HDR) toC() C.vw_hdr {
	var c C.vw_hdr
	if h == nil {
		return c
	}
	if h.mastering() {
		c.has_mastering = 1
		for i, v := range []*C.int{&c.rx, &c.ry, &c.gx, &c.gy, &c.bx, &c.by, &c.wx, &c.wy} {
			*v = C.int(h.Primaries[i])
		}
		c.max_lum, c.min_lum = C.uint(h.MaxLuminance), C.uint(h.MinLuminance)
	}
	if h.light() {
		c.has_light, c.max_cll, c.max_fall = 1, C.uint(h.MaxCLL), C.uint(h.MaxFALL)
	}
	return c
}

// streamParams is what astiav doesn't show of a stream.
type streamParams struct {
	delay       int // pictures that a decoder holds back
	discard     bool
	disposition int
	tag         uint32
}

// Dispositions of FFmpeg that are looked at here.
const (
	dispositionCover = int(C.AV_DISPOSITION_ATTACHED_PIC)
)

func paramsOf(s *astiav.Stream) streamParams {
	var p C.vw_params
	C.vw_get_params((*C.AVStream)(pointer(s)), &p)
	return streamParams{
		delay: int(p.delay), discard: p.discard == C.AVDISCARD_ALL,
		disposition: int(p.disposition), tag: uint32(p.tag),
	}
}

// colourValues are FFmpeg's numbers for the names of an Encoding.
func (e *Encoding) colourValues() (C.vw_params, error) {
	var p C.vw_params
	name := func(s string) *C.char {
		if s == "" {
			s = "unknown"
		}
		return C.CString(s)
	}
	loc := e.ChromaLocation
	if loc == "" || loc == "unknown" {
		loc = "unspecified"
	}
	names := []*C.char{name(e.Range), name(e.Primaries), name(e.Transfer), name(e.Matrix), C.CString(loc)}
	defer func() {
		for _, n := range names {
			C.free(unsafe.Pointer(n))
		}
	}()
	if err := avError(C.vw_colour(names[0], names[1], names[2], names[3], names[4], &p)); err != nil {
		return p, fmt.Errorf("unknown colours %s, %s, %s, %s, %s", e.Range, e.Primaries, e.Transfer, e.Matrix, e.ChromaLocation)
	}
	p.field_order = C.AV_FIELD_PROGRESSIVE
	return p, nil
}

// setDict sets a metadata entry of a container; empty values delete it.
func setDict(fc *astiav.FormatContext, key, value string) error {
	return setEntry(C.vw_meta((*C.AVFormatContext)(pointer(fc))), key, value)
}

func setStreamDict(s *astiav.Stream, key, value string) error {
	return setEntry(C.vw_stream_meta((*C.AVStream)(pointer(s))), key, value)
}

func setEntry(d **C.AVDictionary, key, value string) error {
	k := C.CString(key)
	defer C.free(unsafe.Pointer(k))
	var v *C.char
	if value != "" {
		v = C.CString(value)
		defer C.free(unsafe.Pointer(v))
	}
	return avError(C.vw_set_meta(d, k, v))
}

// entries are all entries of a dictionary.
func entries(d *astiav.Dictionary) map[string]string {
	m := map[string]string{}
	if d == nil {
		return m
	}
	var at *astiav.DictionaryEntry
	for {
		if at = d.Get("", at, astiav.NewDictionaryFlags(astiav.DictionaryFlagIgnoreSuffix)); at == nil {
			return m
		}
		m[at.Key()] = at.Value()
	}
}

// packetHash sums all bytes of a stream's packets.
type packetHash struct{ c *C.vw_hash }

func newPacketHash() *packetHash {
	h := &packetHash{C.vw_hash_new()}
	if h.c == nil {
		panic("media: out of memory")
	}
	runtime.AddCleanup(h, func(c *C.vw_hash) { C.vw_hash_free(c) }, h.c)
	return h
}

func (h *packetHash) add(p *astiav.Packet, skip int) {
	C.vw_hash_add(h.c, (*C.AVPacket)(pointer(p)), C.int(skip))
	runtime.KeepAlive(h)
}

// sum may be called once.
func (h *packetHash) sum() (out [16]byte) {
	C.vw_hash_sum(h.c, (*C.uint8_t)(unsafe.Pointer(&out[0])))
	runtime.KeepAlive(h)
	return out
}

// nativeError makes an error of the system of FFmpeg's, where it is one.
func nativeError(err error) error {
	var e astiav.Error
	if errors.As(err, &e) && e < 0 && e > -4096 && e != astiav.ErrEagain {
		return fmt.Errorf("%w", syscall.Errno(-int(e)))
	}
	return err
}

// leastLoss is the format of a list that loses least of f.
func leastLoss(list []astiav.PixelFormat, f astiav.PixelFormat) astiav.PixelFormat {
	c := make([]C.int, 0, len(list)+1)
	for _, p := range list {
		c = append(c, C.int(p))
	}
	c = append(c, -1)
	return astiav.PixelFormat(C.vw_best_format(&c[0], C.int(f)))
}

// converter fits pictures to the encoder's pixel format.
type converter struct{ c *C.struct_SwsContext }

// convert makes a new frame of src's size in format f.
func (c *converter) convert(src *astiav.Frame, f astiav.PixelFormat) (*astiav.Frame, error) {
	dst := astiav.AllocFrame()
	dst.SetWidth(src.Width())
	dst.SetHeight(src.Height())
	dst.SetPixelFormat(f)
	err := dst.AllocBuffer(0)
	if err == nil {
		err = avError(C.vw_convert(&c.c, (*C.AVFrame)(pointer(dst)), (*C.AVFrame)(pointer(src))))
	}
	if err != nil {
		dst.Free()
		return nil, err
	}
	return dst, nil
}

func (c *converter) Free() {
	C.vw_convert_free(c.c)
	c.c = nil
}

// prepareFrame sets what an encoder reads of a frame.
func prepareFrame(f *astiav.Frame, pts int64, format astiav.PixelFormat, key bool) {
	k := C.int(0)
	if key {
		k = 1
	}
	C.vw_frame_prepare((*C.AVFrame)(pointer(f)), C.int64_t(pts), C.int(format), k)
}

// readHDR decodes the first picture, for what its messages say of light.
// lost tells that they say more than an Encoding can.
func readHDR(ctx context.Context, path string, stream int) (h *HDR, lost bool, err error) {
	in, err := openInput(ctx, path)
	if err != nil {
		return nil, false, err
	}
	defer in.Close()
	var c C.vw_hdr
	C.vw_stream_hdr((*C.AVStream)(pointer(in.fc.Streams()[stream])), &c)
	in.only(stream)
	d, err := openDecoder(in, stream, 1)
	if err != nil {
		return nil, false, err
	}
	defer d.Close()
	err = in.while(ctx, func() error {
		f, err := d.picture()
		if err == nil {
			C.vw_frame_hdr((*C.AVFrame)(pointer(f)), &c)
		}
		return err
	})
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	return hdrFromC(&c), c.has_dynamic != 0, nil
}

// delayOf is how many pictures a decoder of these parameters holds back.
func delayOf(par *astiav.CodecParameters) int {
	return int((*C.AVCodecParameters)(pointer(par)).video_delay)
}

// opusDelay is what demuxers of Matroska take from the times of an Opus
// stream, in ticks. FFmpeg 5's muxer doesn't add it, so a copy would move.
func opusDelay(s *astiav.Stream) int64 {
	c := (*C.AVStream)(pointer(s))
	if c.codecpar.codec_id != C.AV_CODEC_ID_OPUS || c.codecpar.initial_padding <= 0 {
		return 0
	}
	ns := C.av_rescale_q(C.int64_t(c.codecpar.initial_padding), C.AVRational{1, 48000}, C.AVRational{1, 1e9})
	return int64(C.av_rescale_q(ns, C.AVRational{1, 1e9}, c.time_base))
}
