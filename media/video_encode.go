package media

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/asticode/go-astiav"
)

// EncodeOptions say how a video is encoded.
type EncodeOptions struct {
	// Encoder is "auto" or FFmpeg's name of one. "auto" keeps the codec's
	// family, the bit depth and the chroma format where an encoder can, and
	// never takes one of a GPU.
	Encoder string
	// Quality is the encoder's own CRF or CQ; 0: its visually lossless default.
	Quality int
	// Preset is the encoder's own; "": ours.
	Preset string
	// Interlaced keeps the fields of interlaced pictures, which are
	// deinterlaced otherwise.
	Interlaced bool
	// Threads shapes the bytes of some encoders, so it is part of the Encoding:
	// the pictures that are encoded at once. 0: 4, or 8 above 1440 lines.
	Threads int
}

// Encoding is how every segment of a video is encoded and what holds it. It is
// decided once; with the same pictures it gives the same bytes on every machine
// that has the same version of the encoder.
type Encoding struct {
	Encoder     string            `json:"encoder"` // FFmpeg's name
	Codec       string            `json:"codec"`   // FFmpeg's name
	PixelFormat string            `json:"pixel_format"`
	Options     map[string]string `json:"options"` // of the encoder
	Threads     int               `json:"threads"`
	Keyint      int               `json:"keyint"` // most pictures from a keyframe to the next
	Rate        Rational          `json:"rate"`   // what the encoder takes for the pictures' rate; not their times

	Width          int      `json:"width"`
	Height         int      `json:"height"`
	SampleAspect   Rational `json:"sample_aspect"`
	Range          string   `json:"range"`
	Primaries      string   `json:"primaries"`
	Transfer       string   `json:"transfer"`
	Matrix         string   `json:"matrix"`
	ChromaLocation string   `json:"chroma_location"`
	HDR            *HDR     `json:"hdr,omitempty"`
	// Deinterlaced says that the pictures must be read with ReadOptions.Bwdif.
	Deinterlaced bool `json:"deinterlaced,omitempty"`

	Muxer     string   `json:"muxer"`           // FFmpeg's name of the container
	Extension string   `json:"extension"`       // of the output, with its dot
	Kept      bool     `json:"kept"`            // the container is the source's
	Streams   []int    `json:"streams"`         // of Video.Streams, those that the output has
	Notes     []string `json:"notes,omitempty"` // what differs from the source; for the report
}

func (e *Encoding) note(format string, a ...any) {
	e.Notes = append(e.Notes, fmt.Sprintf(format, a...))
}

// ChooseEncoding decides how v is encoded and what holds it. It opens the
// encoder and tries the container with all streams, so what it returns works
// here. An encoder that was named and doesn't work is an error.
func ChooseEncoding(v *Video, o EncodeOptions) (Encoding, error) {
	e, err := chooseEncoding(context.Background(), v, o)
	if err != nil {
		return Encoding{}, fmt.Errorf("choose the encoding of %s: %w", v.Path, err)
	}
	return e, nil
}

func chooseEncoding(ctx context.Context, v *Video, o EncodeOptions) (Encoding, error) {
	quiet()
	in, err := openInput(ctx, v.Path)
	if err != nil {
		return Encoding{}, err
	}
	defer in.Close()
	if n := in.fc.NbStreams(); n < len(v.Streams) || v.Main >= n {
		return Encoding{}, fmt.Errorf("%w: %d streams, %d when it was probed", ErrDamaged, n, len(v.Streams))
	}
	s := v.Stream()
	base, err := baseEncoding(s, o)
	if err != nil {
		return Encoding{}, err
	}
	var lost bool
	if base.HDR, lost, err = readHDR(ctx, v.Path, v.Main, s.Picture.HDR); err != nil {
		return Encoding{}, err
	}
	if lost {
		base.note("dynamic HDR metadata (HDR10+ or Dolby Vision) is lost")
	}
	e, video, err := firstEncoder(base, s, o)
	if err != nil {
		return Encoding{}, err
	}
	defer video.Free()
	if err := e.chooseContainer(in, v, video); err != nil {
		return Encoding{}, err
	}
	return e, nil
}

// baseEncoding is what doesn't depend on the encoder.
func baseEncoding(s *Stream, o EncodeOptions) (Encoding, error) {
	p := s.Picture
	if p == nil || p.Width < 1 || p.Height < 1 {
		return Encoding{}, fmt.Errorf("%w: stream %d has no pictures", ErrUnsupported, s.Index)
	}
	e := Encoding{
		Width: p.Width, Height: p.Height, SampleAspect: p.SampleAspect,
		Range: p.Range, Primaries: p.Primaries, Transfer: p.Transfer, Matrix: p.Matrix, ChromaLocation: p.ChromaLocation,
		Threads: o.Threads, Options: map[string]string{},
	}
	if e.Threads <= 0 {
		e.Threads = 4
		if p.Height > 1440 {
			e.Threads = 8
		}
	}
	e.Rate = p.AverageRate
	if r := float64(e.Rate.Num) / float64(max(e.Rate.Den, 1)); e.Rate.Den < 1 || !(r >= 1 && r <= 240) {
		e.Rate = Rational{25, 1}
		if r > 240 {
			e.Rate = Rational{240, 1}
		} else if r > 0 {
			e.Rate = Rational{1, 1}
		}
	}
	e.Keyint = min(max(int(math.Round(4*float64(e.Rate.Num)/float64(e.Rate.Den))), 12), 300)
	if e.Range == "unknown" && p.full(s.Codec) {
		e.Range = "pc"
	}
	if p.RGB {
		e.Range, e.Matrix = "tv", p.matrix()
	}
	switch p.FieldOrder {
	case "tt", "bb", "tb", "bt":
		if o.Interlaced {
			e.Options["flags"] = "+ilme+ildct"
			e.note("interlaced (%s): its fields are kept", p.FieldOrder)
			break
		}
		e.Deinterlaced = true
		e.note("interlaced (%s): deinterlaced with bwdif, one picture a frame", p.FieldOrder)
	}
	return e, nil
}

// firstEncoder takes the first encoder that opens: of those that hold the
// pictures as they are, then of the others. The codec parameters are the caller's to free.
func firstEncoder(base Encoding, s *Stream, o EncodeOptions) (Encoding, *astiav.CodecParameters, error) {
	want, note := WorkFormat(*s.Picture)
	if note != "" {
		base.Notes = append(base.Notes, note)
	}
	want = strings.Replace(want, "yuvj", "yuv", 1) // its range has a name of its own
	names := []string{o.Encoder}
	named := o.Encoder != "" && o.Encoder != "auto"
	if !named {
		names = encodersFor(s.Codec, s.Picture)
	}
	var why []error
	for _, exact := range []bool{true, false} {
		for _, name := range names {
			e := base
			e.Options, e.Notes = maps.Clone(base.Options), slices.Clone(base.Notes)
			if err := e.setEncoder(name, want, o); err != nil {
				why = append(why, err)
				continue
			}
			if exact && e.PixelFormat != want {
				continue
			}
			par, err := e.try()
			if err != nil {
				why = append(why, fmt.Errorf("encoder %s doesn't work here: %w", name, err))
				continue
			}
			if e.PixelFormat != want {
				e.note("%s can't hold %s: encoded as %s", name, want, e.PixelFormat)
			}
			if s.Codec != e.Codec {
				e.note("%s becomes %s (%s)", s.Codec, e.Codec, name)
			}
			return e, par, nil
		}
	}
	return base, nil, fmt.Errorf("%w: %w", ErrUnsupported, errors.Join(why...))
}

// encodersFor names the encoders for "auto", the best first.
func encodersFor(codec string, p *PictureFormat) []string {
	switch codec {
	case "h264":
		return []string{"libx264", "libx265"}
	case "hevc":
		return []string{"libx265"}
	case "av1":
		return []string{"libsvtav1", "libaom-av1", "libx265"}
	case "vp8", "vp9":
		return []string{"libvpx-vp9"}
	case "ffv1":
		return []string{"ffv1"}
	}
	if p.Depth > 10 {
		return []string{"libx265", "libx264"}
	}
	return []string{"libx264", "libx265"}
}
