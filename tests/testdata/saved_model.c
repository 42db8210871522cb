/* Continue the prompt 1 2 3 by 8 tokens with a SavedModel, through TensorFlow's C API. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

static TF_Output inputs[12];
static TF_Tensor *values[12];
static int n;

static void feed(TF_Graph *graph, const char *name, TF_DataType type, int dims, const int64_t *shape,
                 const void *data, size_t size) {
  inputs[n] = (TF_Output){TF_GraphOperationByName(graph, name), 0};
  values[n] = TF_AllocateTensor(type, shape, dims, size);
  memcpy(TF_TensorData(values[n++]), data, size);
}

int main(int argc, char **argv) {
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  const char *tag = "serve";
  TF_Session *session = TF_LoadSessionFromSavedModel(
      TF_NewSessionOptions(), NULL, argv[1], &tag, 1, graph, NULL, status);
  int context[] = {1, 2, 3}, length = 8, lengths = 3, top_k = 40, none = -1;
  int64_t shape[] = {1, 3}, seed = 5, first = 0;
  float one = 1, zero = 0;
  if (TF_GetCode(status) != TF_OK) return puts(TF_Message(status)), 1;
  feed(graph, "context", TF_INT32, 2, shape, context, sizeof context);
  feed(graph, "prompt_lengths", TF_INT32, 1, shape, &lengths, sizeof lengths);
  feed(graph, "length", TF_INT32, 0, NULL, &length, sizeof length);
  feed(graph, "top_k", TF_INT32, 0, NULL, &top_k, sizeof top_k);
  feed(graph, "end_token", TF_INT32, 0, NULL, &none, sizeof none);
  feed(graph, "seed", TF_INT64, 0, NULL, &seed, sizeof seed);
  feed(graph, "first_sample", TF_INT64, 0, NULL, &first, sizeof first);
  feed(graph, "temperature", TF_FLOAT, 0, NULL, &one, sizeof one);
  feed(graph, "top_p", TF_FLOAT, 0, NULL, &one, sizeof one);
  feed(graph, "typical_p", TF_FLOAT, 0, NULL, &one, sizeof one);
  feed(graph, "repetition_penalty", TF_FLOAT, 0, NULL, &one, sizeof one);
  feed(graph, "min_p", TF_FLOAT, 0, NULL, &zero, sizeof zero);
  TF_Output output = {TF_GraphOperationByName(graph, argv[2]), 0};
  TF_Tensor *result = NULL;
  TF_SessionRun(session, NULL, inputs, values, n, &output, &result, 1, NULL, 0, NULL, status);
  if (TF_GetCode(status) != TF_OK) return puts(TF_Message(status)), 1;
  for (int i = 0; i < TF_Dim(result, 1); i++) printf("%d ", ((int *)TF_TensorData(result))[i]);
  return puts(""), 0;
}
