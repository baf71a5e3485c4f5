#ifndef RESTORED_VIDEO_WRITE_H
#define RESTORED_VIDEO_WRITE_H

#include <libavformat/avformat.h>
#include <libavcodec/avcodec.h>
#include <libswscale/swscale.h>

/* What go-astiav 0.16 has no way to reach. All return 0 or more, or FFmpeg's
 * negative error. Nothing here keeps a pointer it is given. */

/* Mastering display and light level, in the units of SEI messages: chromaticities
 * in 1/50000, luminances in 1/10000 cd/m2, light levels in cd/m2. */
typedef struct {
	int has_mastering, has_light;
	int rx, ry, gx, gy, bx, by, wx, wy;
	unsigned max_lum, min_lum, max_cll, max_fall;
	int has_dynamic; /* HDR10+ or Dolby Vision, which a new encoding loses */
} vw_hdr;

typedef struct {
	int range, primaries, transfer, matrix, location; /* FFmpeg's enums */
	int field_order, delay, initial_padding, tag, bits, discard, disposition;
} vw_params;

/* Codec parameters that astiav doesn't show or set. */
void vw_get_params(const AVStream *st, vw_params *p);
void vw_set_colour(AVCodecParameters *par, const vw_params *p);
/* FFmpeg's values of names as AVOptions take them; -1: unknown name. */
int vw_colour(const char *range, const char *primaries, const char *transfer, const char *matrix, const char *location, vw_params *p);

void vw_frame_hdr(const AVFrame *f, vw_hdr *h);
void vw_stream_hdr(const AVStream *st, vw_hdr *h);
int vw_set_hdr(AVStream *st, const vw_hdr *h);

/* Metadata, disposition, aspect, rates, id and language; side data too, unless
 * the stream is encoded anew: then only what says how to show it. */
int vw_copy_stream(AVStream *dst, const AVStream *src, int anew);
/* Metadata, chapters and programs; map[i] is the new index of stream i or -1. */
int vw_copy_globals(AVFormatContext *dst, const AVFormatContext *src, const int *map);
int vw_set_meta(AVDictionary **d, const char *key, const char *value);
AVDictionary **vw_meta(AVFormatContext *fc);
AVDictionary **vw_stream_meta(AVStream *st);
/* The picture of a cover as the extradata of an attachment. */
int vw_attach_cover(AVStream *dst, const AVStream *src);
void vw_set_disposition(AVStream *st, int d);
/* Keeps a codec's tag where the muxer knows it for the codec, else clears it. */
void vw_fit_tag(const AVFormatContext *fc, AVStream *st, unsigned tag);

/* Tries whether the muxer takes these streams: writes a header into nowhere. */
int vw_try_header(AVFormatContext *fc, AVDictionary **opts);

/* Sticky error of a file being written or read. */
int vw_io_error(const AVFormatContext *fc);
int64_t vw_io_size(AVFormatContext *fc);

/* A hash of all bytes of a stream's packets. */
typedef struct vw_hash vw_hash;
vw_hash *vw_hash_new(void);
void vw_hash_add(vw_hash *h, const AVPacket *p, int skip);
void vw_hash_bytes(vw_hash *h, const uint8_t *b, int n);
void vw_hash_sum(vw_hash *h, uint8_t out[16]);
void vw_hash_free(vw_hash *h);

void vw_frame_prepare(AVFrame *f, int64_t pts, int format, int key);
/* Converts between planar YUV formats of one size; the colours stay what they are. */
int vw_convert(struct SwsContext **c, AVFrame *dst, const AVFrame *src);
void vw_convert_free(struct SwsContext *c);
/* Best format of a list (ending with -1) for src. */
int vw_best_format(const int *list, int src);
void vw_max_interleave(AVFormatContext *fc, int64_t us);
void vw_no_shift(AVFormatContext *fc);
void vw_discard(AVStream *st, int all);

#endif
