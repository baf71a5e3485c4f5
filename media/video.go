package media

import (
	"math"
	"time"

	"restored/frame"
)

// NoTime is a timestamp that isn't known.
const NoTime int64 = -1 << 63

// Rational is a time base in seconds, a rate a second or an aspect; 0/x is unknown.
type Rational struct {
	Num int `json:"num"`
	Den int `json:"den"`
}

// Seconds is how long so many ticks of the time base are.
func (r Rational) Seconds(ticks int64) float64 {
	return float64(ticks) * float64(r.Num) / float64(r.Den)
}

// Ticks is how many ticks of the time base fit into d, rounded up.
func (r Rational) Ticks(d time.Duration) int64 {
	return int64(math.Ceil(d.Seconds() * float64(r.Den) / float64(r.Num)))
}

// Kind is what a stream holds.
type Kind string

// The kinds of streams.
const (
	KindVideo      Kind = "video"
	KindAudio      Kind = "audio"
	KindSubtitle   Kind = "subtitle"
	KindData       Kind = "data"
	KindAttachment Kind = "attachment"
)

// Stream is one stream of a container.
type Stream struct {
	Index       int               `json:"index"`
	Kind        Kind              `json:"kind"`
	Codec       string            `json:"codec"` // FFmpeg's name
	TimeBase    Rational          `json:"time_base"`
	Start       int64             `json:"start"`    // first timestamp in TimeBase, or NoTime
	Duration    int64             `json:"duration"` // in TimeBase, or NoTime
	Frames      int64             `json:"frames"`   // as the container says; 0 = it doesn't
	BitRate     int64             `json:"bit_rate"` // a second; 0 = unknown
	Disposition []string          `json:"disposition,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Picture     *PictureFormat    `json:"picture,omitempty"` // of video
}

// PictureFormat is how a video stream's pictures are stored and meant.
type PictureFormat struct {
	Width        int      `json:"width"` // stored pixels
	Height       int      `json:"height"`
	SampleAspect Rational `json:"sample_aspect"` // width to height of a pixel; 0/1 = unknown, taken as square
	PixelFormat  string   `json:"pixel_format"`  // FFmpeg's name
	Depth        int      `json:"depth"`         // bits a sample
	SubX         uint     `json:"sub_x"`         // log2 of the chroma subsampling
	SubY         uint     `json:"sub_y"`
	Mono         bool     `json:"mono,omitempty"`
	RGB          bool     `json:"rgb,omitempty"`
	Alpha        bool     `json:"alpha,omitempty"`
	FieldOrder   string   `json:"field_order"` // progressive, tt, bb, tb, bt, unknown
	Rate         Rational `json:"rate"`        // the lowest rate that all timestamps fit
	AverageRate  Rational `json:"average_rate"`
	// Rotation is how many degrees a player turns the pictures clockwise: 0,
	// 90, 180 or 270; Flip says that it mirrors them left to right before it does.
	Rotation int  `json:"rotation,omitempty"`
	Flip     bool `json:"flip,omitempty"`
	// FFmpeg's names of the values of H.273; "unknown" where nothing is said.
	Range          string `json:"range"`
	Primaries      string `json:"primaries"`
	Transfer       string `json:"transfer"`
	Matrix         string `json:"matrix"`
	ChromaLocation string `json:"chroma_location"`
	HDR            bool   `json:"hdr,omitempty"` // mastering display or light level are given
}

// Chapter is a named span of a video.
type Chapter struct {
	Start    time.Duration     `json:"start"`
	End      time.Duration     `json:"end"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Video is what a container says of itself: nothing has been decoded but a few
// pictures, to know their format.
type Video struct {
	Path     string            `json:"path"`
	Format   string            `json:"format"` // FFmpeg's name of the demuxer
	Size     int64             `json:"size"`   // bytes
	Start    time.Duration     `json:"start"`
	Duration time.Duration     `json:"duration"` // 0 = unknown
	BitRate  int64             `json:"bit_rate"`
	Streams  []Stream          `json:"streams"`
	Main     int               `json:"main"` // index in Streams of the video that is restored
	Chapters []Chapter         `json:"chapters,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Stream is the video stream that is restored.
func (v *Video) Stream() *Stream { return &v.Streams[v.Main] }

// Index is what one pass over the packets tells, without decoding.
type Index struct {
	Frames    int64   `json:"frames"`              // pictures of the main stream
	First     int64   `json:"first"`               // timestamp of the first picture, in the main stream's time base
	End       int64   `json:"end"`                 // timestamp of the last picture and its duration
	Keyframes []int64 `json:"keyframes"`           // timestamps, ascending, at least a second apart; at these it can be cut
	Variable  bool    `json:"variable"`            // the pictures' distances differ by more than rounding
	Direct    bool    `json:"direct"`              // all pictures bear their own timestamps: goes into ReadOptions
	Corrupt   int64   `json:"corrupt"`             // packets that the demuxer calls corrupt
	Truncated string  `json:"truncated,omitempty"` // why the file ends too early, if it does
	Bytes     int64   `json:"bytes"`               // of the main stream's packets
	Other     int64   `json:"other"`               // bytes of all other streams' packets
}

// ReadOptions say which pictures are read and how.
type ReadOptions struct {
	// From and To bound the timestamps: From ≤ PTS < To. NoTime is no bound.
	From, To int64
	Direct   bool // what Index.Direct says: the file may be read from its middle
	Threads  int  // of the decoder; 0 = one a core
	Bwdif    bool // deinterlace what is marked as interlaced (or all, where the container says so), one picture a frame
}

// ReadCounts is what a Reader has met.
type ReadCounts struct {
	Pictures int64 `json:"pictures"`
	Corrupt  int64 `json:"corrupt"` // signs of damage: packets that are skipped, pictures that are patched up (some count as both)
	// Truncated says why the file ended too early, if it did where the reader was.
	Truncated string `json:"truncated,omitempty"`
}

// Picture is one decoded picture. It belongs to who holds it until Release.
type Picture struct {
	frame.Planar // valid until Release; read-only before Writable
	PTS          int64
	Duration     int64 // in the stream's time base; 0 = unknown
	native       nativePicture
}
