package media

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

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
	if s.Picture.HDR {
		var lost bool
		if base.HDR, lost, err = readHDR(ctx, v.Path, v.Main); err != nil {
			return Encoding{}, err
		}
		if lost {
			base.note("dynamic HDR metadata (HDR10+ or Dolby Vision) is lost")
		}
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
			if family(s.Codec) != family(e.Codec) {
				e.note("%s becomes %s (%s)", s.Codec, e.Codec, name)
			}
			return e, par, nil
		}
	}
	return base, nil, fmt.Errorf("%w: %w", ErrUnsupported, errors.Join(why...))
}

// family of codecs: what "auto" doesn't leave.
func family(codec string) string {
	if codec == "vp8" {
		return "vp9"
	}
	return codec
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

// encoderDefaults are the options of each encoder that we know.
type encoderDefaults struct {
	codec   string
	quality int    // visually lossless
	option  string // that takes the quality
	preset  string
	speed   string // the option that takes the preset
	more    map[string]string
}

var encoders = map[string]encoderDefaults{
	// stitchable: headers that don't depend on the pictures, so that segments join.
	"libx264": {"h264", 17, "crf", "medium", "preset", map[string]string{"x264-params": "stitchable=1:open-gop=0"}},
	// info: no message with the machine's own properties.
	"libx265":    {"hevc", 18, "crf", "medium", "preset", map[string]string{"x265-params": "open-gop=0:info=0:repeat-headers=0:log-level=none"}},
	"libsvtav1":  {"av1", 20, "crf", "7", "preset", nil},
	"libaom-av1": {"av1", 18, "crf", "6", "cpu-used", map[string]string{"b": "0", "row-mt": "1", "lag-in-frames": "25"}},
	"libvpx-vp9": {"vp9", 16, "crf", "4", "cpu-used", map[string]string{"b": "0", "row-mt": "1", "lag-in-frames": "25", "auto-alt-ref": "1"}},
	"ffv1":       {"ffv1", 0, "", "", "", map[string]string{"level": "3", "slicecrc": "1", "context": "0"}},
	"h264_nvenc": {"h264", 17, "cq", "p5", "preset", map[string]string{"rc": "vbr", "b": "0", "forced-idr": "1"}},
	"hevc_nvenc": {"hevc", 18, "cq", "p5", "preset", map[string]string{"rc": "vbr", "b": "0", "forced-idr": "1"}},
	"av1_nvenc":  {"av1", 20, "cq", "p5", "preset", map[string]string{"rc": "vbr", "b": "0", "forced-idr": "1"}},
	"h264_qsv":   {"h264", 17, "global_quality", "medium", "preset", nil},
	"hevc_qsv":   {"hevc", 18, "global_quality", "medium", "preset", nil},
	"av1_qsv":    {"av1", 20, "global_quality", "medium", "preset", nil},
	"h264_vaapi": {"h264", 18, "qp", "", "", map[string]string{"rc_mode": "CQP"}},
	"hevc_vaapi": {"hevc", 19, "qp", "", "", map[string]string{"rc_mode": "CQP"}},
}

// setEncoder fills in what depends on the encoder.
func (e *Encoding) setEncoder(name, want string, o EncodeOptions) error {
	d, ok := encoders[name]
	if !ok {
		return fmt.Errorf("unknown encoder %q; known: auto, %s", name, strings.Join(slices.Sorted(maps.Keys(encoders)), ", "))
	}
	codec := astiav.FindEncoderByName(name)
	if codec == nil {
		return fmt.Errorf("encoder %s isn't in this FFmpeg", name)
	}
	e.Encoder, e.Codec = name, d.codec
	if e.PixelFormat = bestFormat(codec, want); e.PixelFormat == "" {
		return fmt.Errorf("encoder %s takes no pictures like %s", name, want)
	}
	maps.Copy(e.Options, d.more)
	if d.option != "" {
		q := o.Quality
		if q == 0 {
			q = d.quality
		}
		e.Options[d.option] = strconv.Itoa(q)
	}
	if d.speed != "" {
		e.Options[d.speed] = d.preset
		if o.Preset != "" {
			e.Options[d.speed] = o.Preset
		}
	}
	switch name {
	case "libx264":
		if e.Range == "tv" && e.Primaries == "unknown" && e.Transfer == "unknown" && e.Matrix == "unknown" {
			// Else nothing in the stream would say limited range.
			e.Options["x264-params"] += ":videoformat=component"
		}
	case "libx265":
		e.Options["x265-params"] += ":frame-threads=" + strconv.Itoa(min(e.Threads, 8)) + e.x265HDR()
	case "libsvtav1":
		e.Options["svtav1-params"] = e.svtParams()
	case "ffv1":
		slices := 4
		if e.Width*e.Height > 1<<20 {
			slices = 16
		}
		e.Options["slices"] = strconv.Itoa(slices)
		e.Keyint = 1
	}
	return nil
}

func (e *Encoding) x265HDR() string {
	s := ""
	if h := e.HDR; h != nil {
		if h.mastering() {
			p := h.Primaries
			s += fmt.Sprintf(":master-display=G(%d,%d)B(%d,%d)R(%d,%d)WP(%d,%d)L(%d,%d)", p[2], p[3], p[4], p[5], p[0], p[1], p[6], p[7], h.MaxLuminance, h.MinLuminance)
		}
		if h.light() {
			s += fmt.Sprintf(":max-cll=%d,%d", h.MaxCLL, h.MaxFALL)
		}
	}
	return s
}

func (e *Encoding) svtParams() string {
	s := "enable-overlays=0"
	if h := e.HDR; h != nil {
		if h.mastering() {
			p := func(i int) float64 { return float64(h.Primaries[i]) / 50000 }
			s += fmt.Sprintf(":mastering-display=G(%.5f,%.5f)B(%.5f,%.5f)R(%.5f,%.5f)WP(%.5f,%.5f)L(%.4f,%.4f)",
				p(2), p(3), p(4), p(5), p(0), p(1), p(6), p(7), float64(h.MaxLuminance)/10000, float64(h.MinLuminance)/10000)
		}
		if h.light() {
			s += fmt.Sprintf(":content-light=%d,%d", h.MaxCLL, h.MaxFALL)
		}
	}
	return s
}

// bestFormat is want, if the encoder takes it, else what loses least.
func bestFormat(codec *astiav.Codec, want string) string {
	f := astiav.FindPixelFormatByName(want)
	var list []astiav.PixelFormat
	for _, p := range codec.PixelFormats() {
		n := p.Name()
		if n == want {
			return want
		}
		// No second names of full range, no RGB, no pictures that lie in a GPU.
		if strings.HasPrefix(n, "yuvj") || strings.HasPrefix(n, "yuva") || !isYUV(n) {
			continue
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return ""
	}
	return leastLoss(list, f).Name()
}

func isYUV(name string) bool {
	for _, p := range []string{"yuv4", "nv1", "nv2", "p0", "p2", "p4", "gray"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// try encodes one picture, which tells whether an encoder works here. The
// parameters are the caller's to free.
func (e *Encoding) try() (*astiav.CodecParameters, error) {
	cc, err := e.open(1)
	if err != nil {
		return nil, err
	}
	defer closeEncoder(cc, true)
	p := astiav.AllocPacket()
	defer p.Free()
	if err = sendBlack(cc); err == nil {
		err = cc.SendFrame(nil)
	}
	if err == nil {
		err = cc.ReceivePacket(p)
	}
	if err != nil {
		return nil, nativeError(err)
	}
	par := astiav.AllocCodecParameters()
	if err := par.FromCodecContext(cc); err != nil {
		par.Free()
		return nil, err
	}
	return par, nil
}

// sendBlack gives an encoder a first picture, a black one.
func sendBlack(cc *astiav.CodecContext) error {
	f := astiav.AllocFrame()
	defer f.Free()
	f.SetWidth(cc.Width())
	f.SetHeight(cc.Height())
	f.SetPixelFormat(cc.PixelFormat())
	if err := f.AllocBuffer(0); err != nil {
		return err
	}
	if err := f.ImageFillBlack(); err != nil {
		return err
	}
	prepareFrame(f, 0, cc.PixelFormat(), true)
	return cc.SendFrame(f)
}

// closeEncoder frees an encoder. used: it has been given a picture. libsvtav1
// waits for ever when it is freed before its last picture has come out, or
// without having had one.
func closeEncoder(cc *astiav.CodecContext, used bool) {
	if cc.CodecID().Name() == "av1" {
		if !used {
			_ = sendBlack(cc)
		}
		_ = cc.SendFrame(nil) // it may have been sent
		p := astiav.AllocPacket()
		for cc.ReceivePacket(p) == nil {
			p.Unref()
		}
		p.Free()
	}
	cc.Free()
}

// silent stops libsvtav1, once, from writing to the process's standard error.
var silent = sync.OnceFunc(func() {
	if os.Getenv("SVT_LOG") == "" {
		os.Setenv("SVT_LOG", "-1")
	}
})

// open makes the encoder. threads says how many it may use where that doesn't
// change what it writes.
func (e *Encoding) open(threads int) (*astiav.CodecContext, error) {
	silent()
	codec := astiav.FindEncoderByName(e.Encoder)
	if codec == nil {
		return nil, fmt.Errorf("encoder %s isn't in this FFmpeg", e.Encoder)
	}
	colour, err := e.colourValues()
	if err != nil {
		return nil, err
	}
	opts := astiav.NewDictionary()
	defer opts.Free()
	o := maps.Clone(e.Options)
	o["color_range"] = strconv.Itoa(int(colour._range))
	o["color_primaries"] = strconv.Itoa(int(colour.primaries))
	o["color_trc"] = strconv.Itoa(int(colour.transfer))
	o["colorspace"] = strconv.Itoa(int(colour.matrix))
	o["chroma_sample_location"] = strconv.Itoa(int(colour.location))
	cc := astiav.AllocCodecContext(codec)
	if cc == nil {
		return nil, errors.New("out of memory")
	}
	threads = max(threads, 1)
	switch e.Encoder {
	case "libx264":
		cc.SetThreadCount(e.Threads)
	case "libx265":
		o["x265-params"] += ":pools=" + strconv.Itoa(threads)
	case "libsvtav1":
		o["svtav1-params"] += ":lp=" + strconv.Itoa(threads)
	default:
		cc.SetThreadCount(threads)
	}
	for k, v := range o {
		if err := opts.Set(k, v, 0); err != nil {
			cc.Free()
			return nil, err
		}
	}
	cc.SetWidth(e.Width)
	cc.SetHeight(e.Height)
	cc.SetPixelFormat(astiav.FindPixelFormatByName(e.PixelFormat))
	cc.SetTimeBase(astiav.NewRational(e.Rate.Den, e.Rate.Num))
	cc.SetFramerate(astiav.NewRational(e.Rate.Num, e.Rate.Den))
	if e.SampleAspect.Num > 0 && e.SampleAspect.Den > 0 {
		cc.SetSampleAspectRatio(astiav.NewRational(e.SampleAspect.Num, e.SampleAspect.Den))
	}
	cc.SetGopSize(e.Keyint)
	cc.SetFlags(astiav.NewCodecContextFlags(astiav.CodecContextFlagGlobalHeader, astiav.CodecContextFlagClosedGop, astiav.CodecContextFlagBitexact))
	if err := cc.Open(codec, opts); err != nil {
		cc.Free()
		return nil, nativeError(err)
	}
	if k := slices.Sorted(maps.Keys(entries(opts))); len(k) > 0 {
		cc.Free()
		return nil, fmt.Errorf("it doesn't know the options %s", strings.Join(k, ", "))
	}
	return cc, nil
}
