package media

// #include "video_write.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/asticode/go-astiav"
)

// Containers by FFmpeg's names.
const (
	muxMP4      = "mp4"
	muxMOV      = "mov"
	mux3GP      = "3gp"
	muxMatroska = "matroska"
	muxWebM     = "webm"
	muxTS       = "mpegts"
	muxFLV      = "flv"
)

// extensions that fit a container; the first is what a changed one gets.
var extensions = map[string][]string{
	muxMP4:      {".mp4", ".m4v", ".f4v"},
	muxMOV:      {".mov", ".qt"},
	mux3GP:      {".3gp", ".3g2"},
	muxMatroska: {".mkv"},
	muxWebM:     {".webm"},
	muxTS:       {".ts", ".m2ts", ".mts", ".m2t"},
	muxFLV:      {".flv"},
}

// OutputPath is where JoinVideo writes when asked for out: out itself, or, where
// the container changes, out with the new extension behind it. It is added,
// not replaced: film.avi and film.mkv may lie side by side.
func (e *Encoding) OutputPath(out string) string {
	ext := strings.ToLower(filepath.Ext(out))
	if ext == e.Extension || !e.Kept && slices.Contains(extensions[e.Muxer], ext) {
		return out
	}
	return out + e.Extension
}

// naturalMuxer is the container that v has, as far as we write it; "": we don't.
func naturalMuxer(v *Video) string {
	switch {
	case strings.HasPrefix(v.Format, "mov,mp4"):
		switch brand := strings.TrimSpace(v.Metadata["major_brand"]); {
		case brand == "qt" || brand == "" && strings.EqualFold(filepath.Ext(v.Path), ".mov"):
			return muxMOV
		case strings.HasPrefix(brand, "3gp"):
			return mux3GP
		}
		return muxMP4
	case strings.HasPrefix(v.Format, "matroska"):
		if strings.EqualFold(filepath.Ext(v.Path), ".webm") {
			return muxWebM
		}
		return muxMatroska
	case v.Format == muxTS, v.Format == muxFLV:
		return v.Format
	}
	return ""
}

// chooseContainer sets what holds the streams: the source's container, unless
// another keeps more.
func (e *Encoding) chooseContainer(in *input, v *Video, video *astiav.CodecParameters) error {
	type choice struct {
		muxer string
		keep  []int
		lost  []int
	}
	var choices []choice
	natural := naturalMuxer(v)
	for _, m := range []string{natural, muxMatroska} {
		if m == "" || m == muxMatroska && len(choices) > 0 && choices[0].muxer == m {
			continue
		}
		keep, lost, err := e.holds(m, in, v.Main, video)
		if err != nil {
			continue
		}
		choices = append(choices, choice{m, keep, lost})
	}
	if len(choices) == 0 {
		return fmt.Errorf("%w: no container holds %s", ErrUnsupported, e.Codec)
	}
	best := choices[0]
	for _, c := range choices[1:] {
		if len(c.lost) < len(best.lost) {
			best = c
		}
	}
	e.Muxer, e.Streams, e.Kept = best.muxer, best.keep, best.muxer == natural
	e.Extension = extensions[e.Muxer][0]
	if ext := strings.ToLower(filepath.Ext(v.Path)); e.Kept && ext != "" {
		e.Extension = ext
	}
	if !e.Kept {
		e.note("the container becomes %s: %s can't hold %s with all streams", e.Muxer, v.Format, e.Codec)
	}
	for _, i := range best.lost {
		s := in.fc.Streams()[i]
		e.note("stream %d (%s, %s) is lost: %s can't hold it", i, s.CodecParameters().CodecType(), codecName(s), e.Muxer)
	}
	return nil
}

func codecName(s *astiav.Stream) string {
	if n := s.CodecParameters().CodecID().Name(); n != "none" {
		return n
	}
	return "unknown codec"
}

// remade tells of a stream that the muxer makes anew from other data: a
// timecode track from its tag, a track of chapter titles from the chapters.
func remade(muxer string, s *astiav.Stream) bool {
	if muxer != muxMOV && muxer != muxMP4 {
		return false
	}
	p := paramsOf(s)
	if s.CodecParameters().MediaType() != astiav.MediaTypeData {
		return false
	}
	timecode := p.tag == tagOf("tmcd") && s.Metadata() != nil && s.Metadata().Get("timecode", nil, 0) != nil
	return timecode || p.discard && p.tag == tagOf("text")
}

func tagOf(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

// holds says which streams a muxer takes beside the new video. An error means
// that it doesn't take the video.
func (e *Encoding) holds(muxer string, in *input, main int, video *astiav.CodecParameters) (keep, lost []int, err error) {
	try := func(streams []int) error {
		o, err := e.newOutput(muxer, "", in, main, video, streams, false)
		if err != nil {
			return err
		}
		defer o.Free()
		return o.try()
	}
	if err := try([]int{main}); err != nil {
		return nil, nil, err
	}
	for i, s := range in.fc.Streams() {
		switch {
		case i == main:
			keep = append(keep, i)
		case remade(muxer, s):
		case !loose(muxer, s) || try([]int{main, i}) != nil && try([]int{i, main}) != nil:
			lost = append(lost, i)
		default:
			keep = append(keep, i)
		}
	}
	// Streams that pass alone may not pass together.
	if err := try(keep); err != nil {
		return nil, nil, err
	}
	return keep, lost, nil
}

// tsCodecs are what an MPEG transport stream names so that others find it.
var tsCodecs = map[string]bool{}

func init() {
	for c := range strings.FieldsSeq("h264 hevc mpeg1video mpeg2video mpeg4 vc1 cavs dirac mp1 mp2 mp3 aac aac_latm ac3 eac3 dts truehd opus " +
		"s302m dvb_subtitle dvb_teletext hdmv_pgs_subtitle klv timed_id3") {
		tsCodecs[c] = true
	}
}

// loose refuses what a muxer would take and not give back as it was.
func loose(muxer string, s *astiav.Stream) bool {
	cover := paramsOf(s).disposition&dispositionCover != 0
	name := s.CodecParameters().CodecID().Name()
	switch muxer {
	case muxTS:
		return tsCodecs[name] && !cover
	case muxMOV, mux3GP, muxFLV, muxWebM:
		return !cover && name != "none"
	}
	return name != "none" || s.CodecParameters().MediaType() == astiav.MediaTypeAttachment
}

// output is a container being written.
type output struct {
	fc     *astiav.FormatContext
	pb     *astiav.IOContext
	opts   *astiav.Dictionary
	target []int // by source stream: the index here, or −1
	main   int   // index of the new video
	free   *freeTags
	notes  []string
}

// newOutput makes a container with the streams of the source, but the main one
// with other codec parameters. path "": it is only tried.
func (e *Encoding) newOutput(muxer, path string, in *input, main int, video *astiav.CodecParameters, streams []int, provenance bool) (*output, error) {
	name := ""
	if path != "" {
		name = fileURL(path) // a muxer that moves its index opens it again
	}
	fc, err := astiav.AllocOutputFormatContext(nil, muxer, name)
	if err != nil {
		return nil, fmt.Errorf("muxer %s: %w", muxer, err)
	}
	o := &output{fc: fc, opts: astiav.NewDictionary(), target: make([]int, in.fc.NbStreams())}
	for i := range o.target {
		o.target[i] = -1
	}
	sources := in.fc.Streams()
	for _, i := range streams {
		o.target[i] = fc.NbStreams()
		if err := e.addStream(o, muxer, sources[i], i == main, video); err != nil {
			o.Free()
			return nil, fmt.Errorf("stream %d: %w", i, err)
		}
	}
	o.main = o.target[main]
	mapping := make([]C.int, len(o.target)+1)
	for i, t := range o.target {
		mapping[i] = C.int(t)
	}
	if err := avError(C.vw_copy_globals((*C.AVFormatContext)(pointer(fc)), (*C.AVFormatContext)(pointer(in.fc)), &mapping[0])); err != nil {
		o.Free()
		return nil, err
	}
	C.vw_no_shift((*C.AVFormatContext)(pointer(fc)))
	if err := e.setTags(o, muxer, in, provenance); err != nil {
		o.Free()
		return nil, err
	}
	return o, nil
}

func (e *Encoding) addStream(o *output, muxer string, src *astiav.Stream, anew bool, video *astiav.CodecParameters) error {
	st := o.fc.NewStream(nil)
	if st == nil {
		return errors.New("out of memory")
	}
	to, from := (*C.AVStream)(pointer(st)), (*C.AVStream)(pointer(src))
	par, flag := src.CodecParameters(), C.int(0)
	if anew {
		par, flag = video, 1
	}
	if err := par.Copy(st.CodecParameters()); err != nil {
		return err
	}
	if err := avError(C.vw_copy_stream(to, from, flag)); err != nil {
		return err
	}
	st.SetTimeBase(src.TimeBase())
	p := paramsOf(src)
	tag := p.tag
	if anew {
		tag = 0
		if e.Codec == "hevc" && (muxer == muxMP4 || muxer == muxMOV) {
			tag = tagOf("hvc1")
		}
		if err := e.describe(st); err != nil {
			return err
		}
	}
	C.vw_fit_tag((*C.AVFormatContext)(pointer(o.fc)), to, C.uint(tag))
	if p.disposition&dispositionCover != 0 && muxer == muxMatroska {
		return avError(C.vw_attach_cover(to, from))
	}
	return nil
}

// describe says of the new video what its source said: colours, aspect, light.
func (e *Encoding) describe(st *astiav.Stream) error {
	c, err := e.colourValues()
	if err != nil {
		return err
	}
	to := (*C.AVStream)(pointer(st))
	C.vw_set_colour(to.codecpar, &c)
	if e.SampleAspect.Num > 0 && e.SampleAspect.Den > 0 {
		r := astiav.NewRational(e.SampleAspect.Num, e.SampleAspect.Den)
		st.SetSampleAspectRatio(r)
		st.CodecParameters().SetSampleAspectRatio(r)
	}
	h := e.HDR.toC()
	if err := avError(C.vw_set_hdr(to, &h)); err != nil {
		return err
	}
	// Statistics of the old packets.
	for k := range entries(st.Metadata()) {
		for _, stale := range []string{"BPS", "NUMBER_OF_BYTES", "_STATISTICS_", "encoder"} {
			if strings.HasPrefix(k, stale) {
				if err := setStreamDict(st, k, ""); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// setTags fits the container's metadata and sets the muxer's options.
func (e *Encoding) setTags(o *output, muxer string, in *input, provenance bool) error {
	for _, k := range []string{"major_brand", "minor_version", "compatible_brands"} {
		if err := setDict(o.fc, k, ""); err != nil {
			return err
		}
	}
	if provenance {
		if muxer == muxTS {
			o.notes = append(o.notes, "MPEG-TS can't carry the provenance tag")
		} else if err := setDict(o.fc, provenanceKey, DigitalSource); err != nil {
			return err
		}
	}
	set := func(k, v string) error { return o.opts.Set(k, v, 0) }
	switch muxer {
	case muxMP4, muxMOV, mux3GP:
		tb := o.fc.Streams()[o.main].TimeBase()
		flags, err := o.movFlags(muxer, in)
		if err != nil {
			return err
		}
		return errors.Join(set("movflags", flags),
			set("video_track_timescale", strconv.Itoa(max(tb.Den()/max(tb.Num(), 1), 1))),
			set("movie_timescale", strconv.Itoa(movieScale(in))))
	case muxTS:
		return set("mpegts_copyts", "1")
	}
	return nil
}

// movFlags decides where the index and the tags of an MP4 or QuickTime file lie.
func (o *output) movFlags(muxer string, in *input) (string, error) {
	flags := "0"
	if first, err := fastStart(in.file); err != nil {
		return "", err
	} else if first {
		flags += "+faststart"
	}
	quicktime, cover := muxer == muxMOV, false
	for k := range entries(in.fc.Metadata()) {
		quicktime = quicktime || strings.HasPrefix(k, "com.")
	}
	for _, s := range o.fc.Streams() {
		cover = cover || paramsOf(s).disposition&dispositionCover != 0
	}
	var err error
	switch {
	case muxer == mux3GP:
	case quicktime && !cover:
		flags += "+use_metadata_tags"
	default:
		o.free, err = takeFreeTags(o.fc)
	}
	return flags, err
}

// movieScale is a scale of a movie's times in which the streams' starts are whole.
func movieScale(in *input) int {
	const most = 1 << 30
	scale := 1000
	for _, s := range in.fc.Streams() {
		tb := s.TimeBase()
		if s.StartTime() <= 0 || s.StartTime() == NoTime || tb.Num() != 1 {
			continue
		}
		if l := scale / int(gcd(int64(scale), int64(tb.Den()))) * tb.Den(); l <= most {
			scale = l
		}
	}
	return scale
}

// fastStart tells whether an MP4 file has its index before its pictures.
func fastStart(f *os.File) (bool, error) {
	st, err := f.Stat()
	if err != nil {
		return false, err
	}
	for at := int64(0); at+8 <= st.Size(); {
		size, kind, err := boxAt(f, at, st.Size())
		if err != nil || kind == "mdat" || kind == "moof" {
			return false, nil // what is damaged has been opened all the same
		}
		if kind == "moov" {
			return true, nil
		}
		at += size
	}
	return false, nil
}

// try writes the header into nowhere.
func (o *output) try() error {
	var d *C.AVDictionary
	C.av_dict_copy(&d, (*C.AVDictionary)(pointer(o.opts)), 0)
	defer C.av_dict_free(&d)
	return avError(C.vw_try_header((*C.AVFormatContext)(pointer(o.fc)), &d))
}

// Free may be called again.
func (o *output) Free() {
	if o.pb != nil {
		o.pb.Close() //nolint:errcheck // of a file that is thrown away
		o.pb = nil
	}
	if o.fc != nil {
		o.fc.Free()
		o.opts.Free()
		o.fc = nil
	}
}
