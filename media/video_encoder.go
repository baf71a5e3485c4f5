package media

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/asticode/go-astiav"
	processor "golang.org/x/sys/cpu"
)

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
	// realtime: four times as fast as "good", for 5 % more bytes at the same likeness.
	"libvpx-vp9": {"vp9", 16, "crf", "6", "cpu-used", map[string]string{"b": "0", "deadline": "realtime", "row-mt": "1", "lag-in-frames": "25"}},
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
	if e.PixelFormat = bestFormat(codec, want); e.vaapi() {
		e.PixelFormat = "nv12"
		if strings.Contains(want, "10") {
			e.PixelFormat = "p010le"
		}
	}
	if e.PixelFormat == "" {
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
		// Its lookahead depends on the number of threads, too.
		e.Options["x265-params"] += fmt.Sprintf(":frame-threads=%d:pools=%d", min(e.Threads, 8), e.Threads) + e.x265HDR()
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

// vaapi tells that the encoder takes only pictures that lie in its GPU.
func (e *Encoding) vaapi() bool { return strings.HasSuffix(e.Encoder, "_vaapi") }

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
	if e.vaapi() {
		return parametersOf(cc) // that it opens must do
	}
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
	return parametersOf(cc)
}

func parametersOf(cc *astiav.CodecContext) (*astiav.CodecParameters, error) {
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
		_ = os.Setenv("SVT_LOG", "-1")
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
	case "libx264", "libvpx-vp9", "libaom-av1":
		cc.SetThreadCount(e.Threads) // which shapes what they write
		if e.Encoder == "libx264" && processor.X86.HasAVX512F {
			// Its macroblock tree in AVX-512 gives other bytes in one run of ten.
			o["x264-params"] = strings.TrimPrefix(o["x264-params"]+":asm=avx2", ":")
		}
	case "libx265": // its parameters say it
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
	if e.vaapi() {
		if err := useVAAPI(cc, cc.PixelFormat()); err != nil {
			cc.Free()
			return nil, nativeError(err)
		}
	}
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
