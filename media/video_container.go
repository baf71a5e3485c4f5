package media

import (
	"fmt"
	"path/filepath"
	"slices"
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
		muxer      string
		keep, lost []int
		worse      int // what is lost, counted
	}
	var choices []choice
	natural := naturalMuxer(v)
	tried := []string{natural, muxMatroska}
	if turned(v) {
		tried = append(tried, muxMOV)
	}
	for i, m := range tried {
		if m == "" || slices.Contains(tried[:i], m) {
			continue
		}
		keep, lost, err := e.holds(m, in, v.Main, video)
		if err != nil {
			continue
		}
		c := choice{m, keep, lost, len(lost)}
		if turned(v) && !turns[m] {
			c.worse += 1000
		}
		if len(v.Chapters) > 0 && chapterless[m] {
			c.worse++
		}
		choices = append(choices, c)
	}
	if len(choices) == 0 {
		return fmt.Errorf("%w: no container holds %s", ErrUnsupported, e.Codec)
	}
	best := choices[0]
	for _, c := range choices[1:] {
		if c.worse < best.worse {
			best = c
		}
	}
	if turned(v) && !turns[best.muxer] {
		return fmt.Errorf("%w: no container that holds %s says how to turn it", ErrUnsupported, e.Codec)
	}
	if len(v.Chapters) > 0 && chapterless[best.muxer] {
		e.note("the chapters are lost: %s can't hold them", best.muxer)
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

// turns are the containers that say how a player is to turn the pictures.
var turns = map[string]bool{muxMP4: true, muxMOV: true, mux3GP: true}

func turned(v *Video) bool {
	p := v.Stream().Picture
	return p.Rotation != 0 || p.Flip
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
