package media

// #include <stdlib.h>
// #include <string.h>
// #include "video_read.h"
// #include <libavutil/pixdesc.h>
import "C"

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"github.com/asticode/go-astiav"
)

// ProbeVideo reads what a container says of itself and decodes the main
// stream's first picture to know its format.
//
// Errors name the file and wrap ErrNotVideo where there is no video in it,
// ErrUnsupported where nothing here decodes it, ErrDamaged where it can't be
// made sense of, ErrTooLarge over 1000 streams, 16384 pixels a side or 4 MiB
// of metadata, one of io/fs, or ctx's. The file is read through one open file:
// nothing in it can make FFmpeg open another file or a network address.
func ProbeVideo(ctx context.Context, path string) (*Video, error) {
	in, err := openInput(ctx, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var v *Video
	err = in.while(ctx, func() (err error) {
		v, err = in.probe()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("probe %s: %w", path, err)
	}
	return v, nil
}

func (in *input) probe() (*Video, error) {
	c := in.c()
	st, err := in.file.Stat()
	if err != nil {
		return nil, err
	}
	v := &Video{
		Path: in.path, Format: C.GoString(c.iformat.name), Size: st.Size(), BitRate: int64(c.bit_rate), Main: -1,
		Start: microseconds(c.start_time), Duration: microseconds(c.duration),
	}
	tags := tagReader{left: maxMetadata}
	v.Metadata = tags.read(c.metadata)
	for i := range in.fc.NbStreams() {
		v.Streams = append(v.Streams, in.describeStream(i, &tags))
	}
	for _, ch := range unsafe.Slice(c.chapters, c.nb_chapters) {
		v.Chapters = append(v.Chapters, Chapter{
			Start: inTime(ch.start, ch.time_base), End: inTime(ch.end, ch.time_base), Metadata: tags.read(ch.metadata),
		})
	}
	if tags.left < 0 {
		return nil, fmt.Errorf("%w: more than %d bytes of metadata", ErrTooLarge, maxMetadata)
	}
	if err := in.chooseMain(v); err != nil {
		return nil, err
	}
	return v, in.first(v)
}

// describeStream says what the container says of stream i.
func (in *input) describeStream(i int, tags *tagReader) Stream {
	s := in.stream(i)
	p := s.codecpar
	out := Stream{
		Index: i, Kind: KindData, Codec: C.GoString(C.avcodec_get_name(p.codec_id)), TimeBase: rational(s.time_base),
		Start: int64(s.start_time), Duration: int64(s.duration), Frames: int64(s.nb_frames), BitRate: int64(p.bit_rate),
		Disposition: dispositions(s.disposition), Metadata: tags.read(s.metadata),
	}
	switch p.codec_type {
	case C.AVMEDIA_TYPE_VIDEO:
		out.Kind, out.Picture = KindVideo, in.pictureFormat(s)
	case C.AVMEDIA_TYPE_AUDIO:
		out.Kind = KindAudio
	case C.AVMEDIA_TYPE_SUBTITLE:
		out.Kind = KindSubtitle
	case C.AVMEDIA_TYPE_ATTACHMENT:
		out.Kind = KindAttachment
	}
	return out
}

func (in *input) pictureFormat(s *C.AVStream) *PictureFormat {
	p := s.codecpar
	f := &PictureFormat{
		Width: int(p.width), Height: int(p.height), SampleAspect: rational(C.av_guess_sample_aspect_ratio(in.c(), s, nil)),
		Rate: rational(s.r_frame_rate), AverageRate: rational(s.avg_frame_rate), FieldOrder: fieldOrder(p.field_order),
	}
	if f.pixelFormat(C.enum_AVPixelFormat(p.format)) != nil {
		f.PixelFormat = "unknown"
	}
	f.colours(p.color_range, p.color_primaries, p.color_trc, p.color_space, p.chroma_location)
	var size C.size_t
	if m := C.av_stream_get_side_data(s, C.AV_PKT_DATA_DISPLAYMATRIX, &size); m != nil && size >= 36 {
		f.display(unsafe.Slice((*int32)(unsafe.Pointer(m)), 9))
	}
	f.HDR = C.av_stream_get_side_data(s, C.AV_PKT_DATA_MASTERING_DISPLAY_METADATA, nil) != nil ||
		C.av_stream_get_side_data(s, C.AV_PKT_DATA_CONTENT_LIGHT_LEVEL, nil) != nil
	return f
}

// chooseMain takes the largest of the streams that are marked as default, or
// of all where none is. Cover pictures don't count.
func (in *input) chooseMain(v *Video) error {
	unreadable := ""
	best, bestDefault := -1, false
	for i := range v.Streams {
		s := in.stream(i)
		if v.Streams[i].Kind != KindVideo || s.disposition&(C.AV_DISPOSITION_ATTACHED_PIC|C.AV_DISPOSITION_TIMED_THUMBNAILS) != 0 {
			continue
		}
		if astiav.FindDecoder(astiav.CodecID(s.codecpar.codec_id)) == nil {
			unreadable = v.Streams[i].Codec
			continue
		}
		isDefault := s.disposition&C.AV_DISPOSITION_DEFAULT != 0
		if best < 0 || isDefault && !bestDefault || isDefault == bestDefault && area(v.Streams[i]) > area(v.Streams[best]) {
			best, bestDefault = i, isDefault
		}
	}
	switch {
	case best < 0 && unreadable != "":
		return fmt.Errorf("%w: nothing here decodes %s", ErrUnsupported, unreadable)
	case best < 0:
		return fmt.Errorf("%w: %s without a video stream", ErrNotVideo, v.Format)
	}
	v.Main = best
	return nil
}

func area(s Stream) int { return s.Picture.Width * s.Picture.Height }

// first decodes the first picture of the main stream: only it tells, in some
// formats, what the pictures are.
func (in *input) first(v *Video) error {
	s := v.Stream()
	d, err := openDecoder(in, v.Main, 1)
	if err != nil {
		return err
	}
	defer d.Close()
	in.only(v.Main)
	f, err := d.picture()
	if err != nil {
		return fmt.Errorf("%w: no picture of the %s stream can be decoded: %w", ErrDamaged, s.Codec, err)
	}
	p, c := s.Picture, (*C.AVFrame)(pointer(f))
	if c.width > maxSide || c.height > maxSide {
		return fmt.Errorf("%w: %d×%d pixels, at most %d each way", ErrTooLarge, c.width, c.height, maxSide)
	}
	p.Width, p.Height = int(c.width), int(c.height)
	p.SampleAspect = rational(C.av_guess_sample_aspect_ratio(in.c(), in.stream(v.Main), c))
	if err := p.pixelFormat(C.enum_AVPixelFormat(c.format)); err != nil {
		return err
	}
	var said PictureFormat
	said.colours(c.color_range, c.color_primaries, c.color_trc, c.colorspace, c.chroma_location)
	for _, f := range []struct{ to, from *string }{
		{&p.Range, &said.Range}, {&p.Primaries, &said.Primaries}, {&p.Transfer, &said.Transfer},
		{&p.Matrix, &said.Matrix}, {&p.ChromaLocation, &said.ChromaLocation},
	} {
		if *f.to == "unknown" {
			*f.to = *f.from
		}
	}
	p.HDR = p.HDR || C.av_frame_get_side_data(c, C.AV_FRAME_DATA_MASTERING_DISPLAY_METADATA) != nil ||
		C.av_frame_get_side_data(c, C.AV_FRAME_DATA_CONTENT_LIGHT_LEVEL) != nil
	if p.FieldOrder == "unknown" && c.interlaced_frame != 0 {
		p.FieldOrder = "bb"
		if c.top_field_first != 0 {
			p.FieldOrder = "tt"
		}
	}
	return nil
}

// only makes the demuxer drop the packets of all other streams.
func (in *input) only(stream int) {
	for i := range in.fc.NbStreams() {
		if i != stream {
			in.stream(i).discard = C.AVDISCARD_ALL
		}
	}
}

func fieldOrder(o C.enum_AVFieldOrder) string {
	switch o {
	case C.AV_FIELD_PROGRESSIVE:
		return "progressive"
	case C.AV_FIELD_TT:
		return "tt"
	case C.AV_FIELD_BB:
		return "bb"
	case C.AV_FIELD_TB:
		return "tb"
	case C.AV_FIELD_BT:
		return "bt"
	}
	return "unknown"
}

// dispositions are FFmpeg's names of the bits.
func dispositions(bits C.int) []string {
	var names []string
	for i := range 31 {
		if bit := C.int(1) << i; bits&bit != 0 {
			if n := C.av_disposition_to_string(bit); n != nil {
				names = append(names, C.GoString(n))
			}
		}
	}
	return names
}

// tagReader copies tags, at most left bytes of them; less than zero: there were more.
type tagReader struct{ left int }

func (t *tagReader) read(d *C.AVDictionary) map[string]string {
	var tags map[string]string
	var e *C.AVDictionaryEntry
	empty := C.CString("")
	defer C.free(unsafe.Pointer(empty))
	for t.left >= 0 {
		if e = C.av_dict_get(d, empty, e, C.AV_DICT_IGNORE_SUFFIX); e == nil {
			break
		}
		if t.left -= int(C.strlen(e.key) + C.strlen(e.value)); t.left < 0 {
			break
		}
		if tags == nil {
			tags = map[string]string{}
		}
		tags[C.GoString(e.key)] = C.GoString(e.value)
	}
	return tags
}

func rational(r C.AVRational) Rational {
	if r.num == 0 || r.den == 0 {
		return Rational{0, 1}
	}
	return Rational{int(r.num), int(r.den)}
}

// microseconds is a time of a container; unknown is 0.
func microseconds(t C.int64_t) time.Duration {
	if int64(t) == NoTime {
		return 0
	}
	return time.Duration(t) * time.Microsecond
}

// inTime is a timestamp as a time; what doesn't fit is cut.
func inTime(t C.int64_t, base C.AVRational) time.Duration {
	if int64(t) == NoTime || base.den == 0 {
		return 0
	}
	return time.Duration(C.av_rescale_q(t, base, C.AVRational{1, 1e9}))
}
