package media

// #include <stdlib.h>
// #include <libavutil/pixdesc.h>
// #include "video_read.h"
import "C"

import (
	"fmt"
	"math"
	"strings"
	"unsafe"

	"restored/frame"
)

// pixelFormat fills in what a pixel format's name stands for.
func (p *PictureFormat) pixelFormat(format C.enum_AVPixelFormat) error {
	d := C.av_pix_fmt_desc_get(format)
	if d == nil {
		return fmt.Errorf("%w: pictures in no known pixel format", ErrUnsupported)
	}
	p.PixelFormat = C.GoString(d.name)
	p.Depth = int(d.comp[0].depth)
	p.SubX, p.SubY = uint(d.log2_chroma_w), uint(d.log2_chroma_h)
	p.RGB = d.flags&(C.AV_PIX_FMT_FLAG_RGB|C.AV_PIX_FMT_FLAG_PAL) != 0
	p.Alpha = d.flags&C.AV_PIX_FMT_FLAG_ALPHA != 0
	p.Mono = d.nb_components < 3 && !p.RGB
	if d.flags&C.AV_PIX_FMT_FLAG_PAL != 0 { // the palette is 8-bit RGB with alpha
		p.Depth, p.SubX, p.SubY, p.Mono = 8, 0, 0, false
	}
	if d.flags&C.AV_PIX_FMT_FLAG_HWACCEL != 0 {
		return fmt.Errorf("%w: pictures in a device's own format %s", ErrUnsupported, p.PixelFormat)
	}
	return nil
}

// colours fills in the names of H.273.
func (p *PictureFormat) colours(r C.enum_AVColorRange, primaries C.enum_AVColorPrimaries, trc C.enum_AVColorTransferCharacteristic,
	matrix C.enum_AVColorSpace, location C.enum_AVChromaLocation) {
	p.Range = known(C.av_color_range_name(r))
	p.Primaries = known(C.av_color_primaries_name(primaries))
	p.Transfer = known(C.av_color_transfer_name(trc))
	p.Matrix = known(C.av_color_space_name(matrix))
	p.ChromaLocation = known(C.av_chroma_location_name(location))
}

// known is FFmpeg's name, or "unknown" where nothing or nothing known is said.
func known(name *C.char) string {
	s := C.GoString(name)
	if s == "" || s == "unspecified" || s == "reserved" {
		return "unknown"
	}
	return s
}

// display reads a display matrix of nine 32-bit integers: (x, y) goes to
// (a·x + c·y, b·x + d·y), y down.
func (p *PictureFormat) display(m []int32) {
	a, b, c, d := float64(m[0]), float64(m[1]), float64(m[3]), float64(m[4])
	if p.Flip = a*d-b*c < 0; p.Flip {
		a, b = -a, -b
	}
	if a == 0 && b == 0 {
		p.Flip = false
		return
	}
	quarter := int(math.Round(math.Atan2(b, a) / (math.Pi / 2)))
	p.Rotation = (quarter + 4) % 4 * 90
}

// weights are the luma weights of red and blue of FFmpeg's names of matrices.
var weights = map[string][2]float64{
	"bt709": {0.2126, 0.0722}, "fcc": {0.30, 0.11}, "bt470bg": {0.299, 0.114}, "smpte170m": {0.299, 0.114},
	"smpte240m": {0.212, 0.087}, "bt2020nc": {0.2627, 0.0593}, "bt2020c": {0.2627, 0.0593}, "ictcp": {0.2627, 0.0593},
}

// matrix is the matrix that a player assumes.
func (p *PictureFormat) matrix() string {
	if _, ok := weights[p.Matrix]; ok && !p.RGB {
		return p.Matrix
	}
	if p.Height >= 720 {
		return "bt709"
	}
	return "smpte170m"
}

// colourSpace is FFmpeg's value for its name of a matrix.
func colourSpace(name string) C.enum_AVColorSpace {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	return C.enum_AVColorSpace(C.av_color_space_from_name(n))
}

// full tells whether a player takes the codes for full range.
func (p *PictureFormat) full(codec string) bool {
	if strings.HasPrefix(p.PixelFormat, "yuvj") {
		return true
	}
	if p.Range != "unknown" {
		return p.Range == "pc"
	}
	switch codec { // what these don't say is limited; other codecs' gray is full, as FFmpeg takes it
	case "h264", "hevc", "av1", "vp9", "mpeg2video", "mpeg1video", "mpeg4":
		return false
	}
	return p.Mono
}

// colour is how the pictures' codes are meant.
func (p *PictureFormat) colour(codec string) frame.Colour {
	w := weights[p.matrix()]
	c := frame.Colour{Kr: w[0], Kb: w[1], Full: p.full(codec)}
	if p.Mono {
		return c
	}
	location := p.ChromaLocation
	if location == "unknown" {
		location = "left"
		if codec == "mjpeg" || codec == "mpeg1video" {
			location = "center"
		}
	}
	if p.SubX > 0 && !strings.HasSuffix(location, "left") { // center, top, bottom
		c.SiteX = (float64(int(1)<<p.SubX) - 1) / 2
	}
	if p.SubY > 0 {
		last := float64(int(1)<<p.SubY) - 1
		switch {
		case strings.HasPrefix(location, "bottom"):
			c.SiteY = last
		case !strings.HasPrefix(location, "top"):
			c.SiteY = last / 2
		}
	}
	return c
}

// WorkFormat is the pixel format in which a Reader gives a video's pictures:
// the video's own where it is planar YUV or gray of 8 to 16 bits in
// little-endian words, else the nearest of those of the same depth. The note
// says in words what is changed, or is empty.
func WorkFormat(p PictureFormat) (pixelFormat, note string) {
	d, err := describe(p.PixelFormat)
	if err != nil {
		return "yuv420p", fmt.Sprintf("%s becomes yuv420p", p.PixelFormat)
	}
	if d.planar {
		return p.PixelFormat, ""
	}
	depth := min(max(p.Depth, 8), 16)
	switch {
	case p.Mono:
		pixelFormat = "gray"
	case p.RGB || p.PixelFormat == "xyz12le" || p.PixelFormat == "xyz12be" || p.SubX == 0 && p.SubY == 0:
		pixelFormat = "yuv444p"
	case p.SubX == 1 && p.SubY == 0:
		pixelFormat = "yuv422p"
	case p.SubX == 2 && p.SubY == 0:
		pixelFormat, depth = "yuv411p", 8
	default:
		pixelFormat = "yuv420p"
	}
	for _, known := range []int{8, 9, 10, 12, 14, 16} {
		if depth <= known {
			depth = known
			break
		}
	}
	if p.Mono && depth == 14 {
		depth = 16 // FFmpeg 5 scales no gray14
	}
	if depth > 8 {
		pixelFormat += fmt.Sprintf("%dle", depth)
	}
	note = fmt.Sprintf("%s becomes %s", p.PixelFormat, pixelFormat)
	if p.Alpha {
		note += ", without its transparency"
	}
	return pixelFormat, note
}

// pixelKind is what counts of a pixel format.
type pixelKind struct {
	format C.enum_AVPixelFormat
	PictureFormat
	planar bool // planes Y, Cb, Cr or Y alone, of bytes or little-endian words
}

func describe(name string) (pixelKind, error) {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	p := pixelKind{format: C.av_get_pix_fmt(n)}
	if err := p.pixelFormat(p.format); err != nil {
		return p, err
	}
	d := C.av_pix_fmt_desc_get(p.format)
	p.planar = !p.RGB && !p.Alpha && p.Depth >= 8 && p.Depth <= 16 &&
		d.flags&(C.AV_PIX_FMT_FLAG_BE|C.AV_PIX_FMT_FLAG_BITSTREAM|C.AV_PIX_FMT_FLAG_FLOAT|C.AV_PIX_FMT_FLAG_BAYER) == 0 &&
		!strings.HasPrefix(p.PixelFormat, "xyz") && (p.Mono || d.flags&C.AV_PIX_FMT_FLAG_PLANAR != 0)
	for i := range int(d.nb_components) {
		c := d.comp[i]
		p.planar = p.planar && int(c.plane) == i && c.shift == 0 && c.offset == 0 && int(c.depth) == p.Depth && int(c.step) == (p.Depth+7)/8
	}
	return p, nil
}
