#include "video_write.h"

#include <libavutil/display.h>
#include <libavutil/dovi_meta.h>
#include <libavutil/hdr_dynamic_metadata.h>
#include <libavutil/mastering_display_metadata.h>
#include <libavutil/murmur3.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#include <string.h>

void vw_get_params(const AVStream *st, vw_params *p) {
	const AVCodecParameters *c = st->codecpar;
	p->range = c->color_range;
	p->primaries = c->color_primaries;
	p->transfer = c->color_trc;
	p->matrix = c->color_space;
	p->location = c->chroma_location;
	p->field_order = c->field_order;
	p->delay = c->video_delay;
	p->initial_padding = c->initial_padding;
	p->tag = c->codec_tag;
	p->bits = c->bits_per_raw_sample;
	p->discard = st->discard;
	p->disposition = st->disposition;
}

void vw_set_colour(AVCodecParameters *c, const vw_params *p) {
	c->color_range = p->range;
	c->color_primaries = p->primaries;
	c->color_trc = p->transfer;
	c->color_space = p->matrix;
	c->chroma_location = p->location;
	c->field_order = p->field_order;
}

int vw_colour(const char *range, const char *primaries, const char *transfer, const char *matrix, const char *location, vw_params *p) {
	p->range = av_color_range_from_name(range);
	p->primaries = av_color_primaries_from_name(primaries);
	p->transfer = av_color_transfer_from_name(transfer);
	p->matrix = av_color_space_from_name(matrix);
	p->location = av_chroma_location_from_name(location);
	return p->range < 0 || p->primaries < 0 || p->transfer < 0 || p->matrix < 0 || p->location < 0 ? AVERROR(EINVAL) : 0;
}

static int at(AVRational q, int den) {
	return (int) av_rescale_rnd(q.num, den, q.den ? q.den : 1, AV_ROUND_NEAR_INF);
}

static void hdr(vw_hdr *h, const AVMasteringDisplayMetadata *m, const AVContentLightMetadata *l) {
	if (m && m->has_primaries && m->has_luminance) {
		h->has_mastering = 1;
		h->rx = at(m->display_primaries[0][0], 50000);
		h->ry = at(m->display_primaries[0][1], 50000);
		h->gx = at(m->display_primaries[1][0], 50000);
		h->gy = at(m->display_primaries[1][1], 50000);
		h->bx = at(m->display_primaries[2][0], 50000);
		h->by = at(m->display_primaries[2][1], 50000);
		h->wx = at(m->white_point[0], 50000);
		h->wy = at(m->white_point[1], 50000);
		h->max_lum = at(m->max_luminance, 10000);
		h->min_lum = at(m->min_luminance, 10000);
	}
	if (l && (l->MaxCLL || l->MaxFALL)) {
		h->has_light = 1;
		h->max_cll = l->MaxCLL;
		h->max_fall = l->MaxFALL;
	}
}

void vw_frame_hdr(const AVFrame *f, vw_hdr *h) {
	const AVFrameSideData *m = av_frame_get_side_data(f, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA);
	const AVFrameSideData *l = av_frame_get_side_data(f, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL);
	hdr(h, m ? (void *) m->data : NULL, l ? (void *) l->data : NULL);
	if (av_frame_get_side_data(f, AV_FRAME_DATA_DYNAMIC_HDR_PLUS) || av_frame_get_side_data(f, AV_FRAME_DATA_DOVI_METADATA))
		h->has_dynamic = 1;
}

void vw_stream_hdr(const AVStream *st, vw_hdr *h) {
	hdr(h, (void *) av_stream_get_side_data(st, AV_PKT_DATA_MASTERING_DISPLAY_METADATA, NULL),
		(void *) av_stream_get_side_data(st, AV_PKT_DATA_CONTENT_LIGHT_LEVEL, NULL));
	if (av_stream_get_side_data(st, AV_PKT_DATA_DOVI_CONF, NULL))
		h->has_dynamic = 1;
}

int vw_set_hdr(AVStream *st, const vw_hdr *h) {
	if (h->has_mastering) {
		AVMasteringDisplayMetadata *m = av_mastering_display_metadata_alloc();
		if (!m)
			return AVERROR(ENOMEM);
		int v[8] = {h->rx, h->ry, h->gx, h->gy, h->bx, h->by, h->wx, h->wy};
		for (int i = 0; i < 6; i++)
			m->display_primaries[i / 2][i % 2] = av_make_q(v[i], 50000);
		m->white_point[0] = av_make_q(h->wx, 50000);
		m->white_point[1] = av_make_q(h->wy, 50000);
		m->max_luminance = av_make_q(h->max_lum, 10000);
		m->min_luminance = av_make_q(h->min_lum, 10000);
		m->has_primaries = m->has_luminance = 1;
		int rc = av_stream_add_side_data(st, AV_PKT_DATA_MASTERING_DISPLAY_METADATA, (uint8_t *) m, sizeof *m);
		if (rc < 0) {
			av_free(m);
			return rc;
		}
	}
	if (h->has_light) {
		size_t n;
		AVContentLightMetadata *l = av_content_light_metadata_alloc(&n);
		if (!l)
			return AVERROR(ENOMEM);
		l->MaxCLL = h->max_cll;
		l->MaxFALL = h->max_fall;
		int rc = av_stream_add_side_data(st, AV_PKT_DATA_CONTENT_LIGHT_LEVEL, (uint8_t *) l, n);
		if (rc < 0) {
			av_free(l);
			return rc;
		}
	}
	return 0;
}

/* Side data of a stream that says how its pictures are shown, whatever codec they are in. */
static int shows(enum AVPacketSideDataType t) {
	return t == AV_PKT_DATA_DISPLAYMATRIX || t == AV_PKT_DATA_STEREO3D || t == AV_PKT_DATA_SPHERICAL || t == AV_PKT_DATA_ICC_PROFILE;
}

int vw_copy_stream(AVStream *dst, const AVStream *src, int anew) {
	dst->disposition = src->disposition;
	dst->sample_aspect_ratio = src->sample_aspect_ratio;
	dst->avg_frame_rate = src->avg_frame_rate;
	dst->r_frame_rate = src->r_frame_rate;
	dst->id = src->id;
	int rc = av_dict_copy(&dst->metadata, src->metadata, 0);
	for (int i = 0; rc >= 0 && i < src->nb_side_data; i++) {
		const AVPacketSideData *s = &src->side_data[i];
		if (anew && !shows(s->type))
			continue;
		uint8_t *b = av_stream_new_side_data(dst, s->type, s->size);
		if (!b)
			return AVERROR(ENOMEM);
		memcpy(b, s->data, s->size);
	}
	return rc;
}

int vw_copy_globals(AVFormatContext *dst, const AVFormatContext *src, const int *map) {
	int rc = av_dict_copy(&dst->metadata, src->metadata, 0);
	if (rc < 0)
		return rc;
	dst->chapters = av_calloc(src->nb_chapters ? src->nb_chapters : 1, sizeof *dst->chapters);
	if (!dst->chapters)
		return AVERROR(ENOMEM);
	for (unsigned i = 0; i < src->nb_chapters; i++) {
		AVChapter *c = av_mallocz(sizeof *c);
		if (!c)
			return AVERROR(ENOMEM);
		dst->chapters[dst->nb_chapters++] = c;
		c->id = src->chapters[i]->id;
		c->time_base = src->chapters[i]->time_base;
		c->start = src->chapters[i]->start;
		c->end = src->chapters[i]->end;
		if ((rc = av_dict_copy(&c->metadata, src->chapters[i]->metadata, 0)) < 0)
			return rc;
	}
	for (unsigned i = 0; i < src->nb_programs; i++) {
		const AVProgram *p = src->programs[i];
		AVProgram *q = av_new_program(dst, p->id);
		if (!q)
			return AVERROR(ENOMEM);
		q->pmt_pid = p->pmt_pid;
		q->pcr_pid = p->pcr_pid;
		if ((rc = av_dict_copy(&q->metadata, p->metadata, 0)) < 0)
			return rc;
		for (unsigned k = 0; k < p->nb_stream_indexes; k++)
			if (map[p->stream_index[k]] >= 0)
				av_program_add_stream_index(dst, p->id, map[p->stream_index[k]]);
	}
	return 0;
}

int vw_set_meta(AVDictionary **d, const char *key, const char *value) {
	return av_dict_set(d, key, value, 0);
}

AVDictionary **vw_meta(AVFormatContext *fc) {
	return &fc->metadata;
}

AVDictionary **vw_stream_meta(AVStream *st) {
	return &st->metadata;
}

int vw_attach_cover(AVStream *dst, const AVStream *src) {
	const AVPacket *p = &src->attached_pic;
	if (!p->size)
		return AVERROR_INVALIDDATA;
	dst->codecpar->codec_type = AVMEDIA_TYPE_ATTACHMENT;
	dst->codecpar->codec_id = src->codecpar->codec_id;
	av_freep(&dst->codecpar->extradata);
	dst->codecpar->extradata = av_mallocz(p->size + AV_INPUT_BUFFER_PADDING_SIZE);
	if (!dst->codecpar->extradata)
		return AVERROR(ENOMEM);
	memcpy(dst->codecpar->extradata, p->data, p->size);
	dst->codecpar->extradata_size = p->size;
	dst->disposition = 0;
	int png = src->codecpar->codec_id == AV_CODEC_ID_PNG;
	int rc = 0;
	if (!av_dict_get(dst->metadata, "mimetype", NULL, 0))
		rc = av_dict_set(&dst->metadata, "mimetype", png ? "image/png" : "image/jpeg", 0);
	if (rc >= 0 && !av_dict_get(dst->metadata, "filename", NULL, 0))
		rc = av_dict_set(&dst->metadata, "filename", png ? "cover.png" : "cover.jpg", 0);
	return rc;
}

void vw_set_disposition(AVStream *st, int d) {
	st->disposition = d;
}

void vw_fit_tag(const AVFormatContext *fc, AVStream *st, unsigned tag) {
	const struct AVCodecTag *const *tags = fc->oformat->codec_tag;
	AVCodecParameters *c = st->codecpar;
	unsigned other;
	c->codec_tag = 0;
	if (!tags || av_codec_get_id(tags, tag) == c->codec_id || !av_codec_get_tag2(tags, c->codec_id, &other))
		c->codec_tag = tag;
}

int vw_try_header(AVFormatContext *fc, AVDictionary **opts) {
	int rc = avio_open_dyn_buf(&fc->pb);
	if (rc < 0)
		return rc;
	rc = avformat_write_header(fc, opts);
	uint8_t *b;
	avio_close_dyn_buf(fc->pb, &b);
	av_free(b);
	fc->pb = NULL;
	return rc;
}

int vw_io_error(const AVFormatContext *fc) {
	return fc->pb ? fc->pb->error : 0;
}

int64_t vw_io_size(AVFormatContext *fc) {
	return fc->pb ? avio_tell(fc->pb) : 0;
}

struct vw_hash {
	struct AVMurMur3 *m;
};

vw_hash *vw_hash_new(void) {
	vw_hash *h = av_mallocz(sizeof *h);
	if (!h || !(h->m = av_murmur3_alloc())) {
		av_free(h);
		return NULL;
	}
	av_murmur3_init(h->m);
	return h;
}

void vw_hash_add(vw_hash *h, const AVPacket *p, int skip) {
	if (p->size > skip)
		av_murmur3_update(h->m, p->data + skip, p->size - skip);
}

void vw_hash_bytes(vw_hash *h, const uint8_t *b, int n) {
	av_murmur3_update(h->m, b, n);
}

void vw_hash_sum(vw_hash *h, uint8_t out[16]) {
	av_murmur3_final(h->m, out);
}

void vw_hash_free(vw_hash *h) {
	if (h)
		av_free(h->m);
	av_free(h);
}

void vw_frame_prepare(AVFrame *f, int64_t pts, int format, int key) {
	f->pts = pts;
	f->pkt_dts = AV_NOPTS_VALUE;
	f->format = format;
	f->pict_type = key ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
	f->key_frame = key;
	f->interlaced_frame = 0;
	f->repeat_pict = 0;
}

int vw_convert(struct SwsContext **c, AVFrame *dst, const AVFrame *src) {
	*c = sws_getCachedContext(*c, src->width, src->height, src->format, dst->width, dst->height, dst->format,
		SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, NULL, NULL, NULL);
	if (!*c)
		return AVERROR(EINVAL);
	const int *m = sws_getCoefficients(SWS_CS_DEFAULT);
	sws_setColorspaceDetails(*c, m, 0, m, 0, 0, 1 << 16, 1 << 16);
	int rc = sws_scale(*c, (const uint8_t *const *) src->data, src->linesize, 0, src->height, dst->data, dst->linesize);
	return rc < 0 ? rc : 0;
}

void vw_convert_free(struct SwsContext *c) {
	sws_freeContext(c);
}

int vw_best_format(const int *list, int src) {
	return avcodec_find_best_pix_fmt_of_list((const enum AVPixelFormat *) list, src, 0, NULL);
}

void vw_max_interleave(AVFormatContext *fc, int64_t us) {
	fc->max_interleave_delta = us;
}

void vw_no_shift(AVFormatContext *fc) {
	fc->avoid_negative_ts = AVFMT_AVOID_NEG_TS_DISABLED;
}

void vw_discard(AVStream *st, int all) {
	st->discard = all ? AVDISCARD_ALL : AVDISCARD_DEFAULT;
}
