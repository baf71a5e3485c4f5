package media

// #include "video_write.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/asticode/go-astiav"
)

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
		err := set("mpegts_copyts", "1")
		if m2ts(in.file) {
			err = errors.Join(err, set("mpegts_m2ts_mode", "1"))
		}
		return err
	}
	return nil
}

// m2ts tells whether a transport stream's packets have four bytes more, as
// cameras and Blu-rays write them.
func m2ts(f *os.File) bool {
	var b [4 + 192 + 1]byte
	n, _ := f.ReadAt(b[:], 0)
	return n == len(b) && b[4] == 0x47 && b[4+192] == 0x47 && (b[0] != 0x47 || b[188] != 0x47)
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
	index, _, ok := findBox(f, 0, st.Size(), "moov")
	data, _, any := findBox(f, 0, st.Size(), "mdat")
	return ok && (!any || index < data), nil
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
