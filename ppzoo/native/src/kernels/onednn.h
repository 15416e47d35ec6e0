// The part of oneDNN's C interface (version 3) that this package calls, declared here because PaddlePaddle's wheel
// ships the library without its headers. Names, argument orders and values are oneDNN's binary interface:
// https://oneapi-src.github.io/oneDNN/v3.6/group_dnnl_api.html
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct dnnl_engine;
struct dnnl_stream;
struct dnnl_memory;
struct dnnl_memory_desc;
struct dnnl_primitive;
struct dnnl_primitive_desc;
struct dnnl_primitive_attr;

struct dnnl_exec_arg_t {
  int arg;
  dnnl_memory* memory;
};

struct dnnl_version_t {
  int major;
  int minor;
  int patch;
  const char* hash;
  unsigned cpu_runtime;
  unsigned gpu_runtime;
};

const dnnl_version_t* dnnl_version();

int dnnl_engine_create(dnnl_engine** engine, int kind, size_t index);
int dnnl_stream_create(dnnl_stream** stream, dnnl_engine* engine, unsigned flags);
int dnnl_stream_wait(dnnl_stream* stream);

int dnnl_memory_desc_create_with_strides(dnnl_memory_desc** desc, int ndims, const int64_t* dims, int data_type,
                                         const int64_t* strides);
int dnnl_memory_desc_create_with_tag(dnnl_memory_desc** desc, int ndims, const int64_t* dims, int data_type, int tag);
int dnnl_memory_desc_equal(const dnnl_memory_desc* left, const dnnl_memory_desc* right);
size_t dnnl_memory_desc_get_size(const dnnl_memory_desc* desc);
int dnnl_memory_desc_destroy(dnnl_memory_desc* desc);

int dnnl_memory_create(dnnl_memory** memory, const dnnl_memory_desc* desc, dnnl_engine* engine, void* handle);
int dnnl_memory_set_data_handle(dnnl_memory* memory, void* handle);
int dnnl_memory_destroy(dnnl_memory* memory);

int dnnl_primitive_attr_create(dnnl_primitive_attr** attr);
int dnnl_primitive_attr_set_scratchpad_mode(dnnl_primitive_attr* attr, int mode);
int dnnl_primitive_attr_destroy(dnnl_primitive_attr* attr);

int dnnl_convolution_forward_primitive_desc_create(dnnl_primitive_desc** desc, dnnl_engine* engine, int prop_kind,
                                                   int algorithm, const dnnl_memory_desc* src,
                                                   const dnnl_memory_desc* weights, const dnnl_memory_desc* bias,
                                                   const dnnl_memory_desc* dst, const int64_t* strides,
                                                   const int64_t* dilates, const int64_t* padding_before,
                                                   const int64_t* padding_after, const dnnl_primitive_attr* attr);
int dnnl_convolution_backward_data_primitive_desc_create(
    dnnl_primitive_desc** desc, dnnl_engine* engine, int algorithm, const dnnl_memory_desc* diff_src,
    const dnnl_memory_desc* weights, const dnnl_memory_desc* diff_dst, const int64_t* strides, const int64_t* dilates,
    const int64_t* padding_before, const int64_t* padding_after, const dnnl_primitive_desc* forward,
    const dnnl_primitive_attr* attr);
int dnnl_convolution_backward_weights_primitive_desc_create(
    dnnl_primitive_desc** desc, dnnl_engine* engine, int algorithm, const dnnl_memory_desc* src,
    const dnnl_memory_desc* diff_weights, const dnnl_memory_desc* diff_bias, const dnnl_memory_desc* diff_dst,
    const int64_t* strides, const int64_t* dilates, const int64_t* padding_before, const int64_t* padding_after,
    const dnnl_primitive_desc* forward, const dnnl_primitive_attr* attr);
int dnnl_reorder_primitive_desc_create(dnnl_primitive_desc** desc, const dnnl_memory_desc* src, dnnl_engine* src_engine,
                                       const dnnl_memory_desc* dst, dnnl_engine* dst_engine,
                                       const dnnl_primitive_attr* attr);
const dnnl_memory_desc* dnnl_primitive_desc_query_md(const dnnl_primitive_desc* desc, int what, int index);
int dnnl_primitive_desc_destroy(dnnl_primitive_desc* desc);

int dnnl_primitive_create(dnnl_primitive** primitive, const dnnl_primitive_desc* desc);
int dnnl_primitive_execute(const dnnl_primitive* primitive, dnnl_stream* stream, int count,
                           const dnnl_exec_arg_t* arguments);
int dnnl_primitive_destroy(dnnl_primitive* primitive);

int dnnl_sgemm(char a_order, char b_order, int64_t rows, int64_t columns, int64_t inner, float alpha, const float* a,
               int64_t a_stride, const float* b, int64_t b_stride, float beta, float* c, int64_t c_stride);

}  // extern "C"

namespace ppzoo::onednn {

constexpr int kSuccess = 0;
constexpr int kCpu = 1;
constexpr unsigned kInOrder = 1;
constexpr int kBfloat16 = 2;
constexpr int kFloat32 = 3;
constexpr int kAnyLayout = 1;
constexpr int kForwardTraining = 64;
constexpr int kDirectConvolution = 1;
constexpr int kUserScratchpad = 1;
constexpr int kQueryArgument = 255;

// Argument ids of primitives (DNNL_ARG_...).
constexpr int kSource = 1, kDestination = 17, kWeights = 33, kBias = 41, kScratchpad = 80;
constexpr int kSourceGradient = 129, kDestinationGradient = 145, kWeightsGradient = 161;

}  // namespace ppzoo::onednn
