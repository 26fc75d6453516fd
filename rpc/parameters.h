/* Lists of named values of several types: how the protocol says whatever may be more one day. */
#ifndef RPC_PARAMETERS_H
#define RPC_PARAMETERS_H

#include "rpc/xdr.h"

#define RPC_PARAMETER_NAME_BYTES 80
#define RPC_PARAMETER_TEXT_BYTES 1024

enum rpc_parameter_type {
	RPC_INT = 1,
	RPC_UINT,
	RPC_LLONG,
	RPC_ULLONG,
	RPC_DOUBLE,
	RPC_BOOLEAN,
	RPC_STRING,
};

struct rpc_parameter {
	char name[RPC_PARAMETER_NAME_BYTES];
	enum rpc_parameter_type type;
	uint64_t number; /* of an INT, UINT, LLONG (with its sign spread), ULLONG, BOOLEAN */
	double real;
	char text[RPC_PARAMETER_TEXT_BYTES];
};

/* One of a list, whose number xdr_get_count() has read with RPC_PARAMETER_LEAST_BYTES each. */
#define RPC_PARAMETER_LEAST_BYTES 12
void rpc_get_parameter(struct xdr_reader *r, struct rpc_parameter *p);

/* A list that is being written; its number comes in front when rpc_parameters_end() knows it. */
struct rpc_parameters {
	struct xdr_writer *out;
	size_t place;
	uint32_t nr;
};
struct rpc_parameters rpc_parameters_begin(struct xdr_writer *out);
void rpc_put_int(struct rpc_parameters *list, const char *name, int32_t value);
void rpc_put_uint(struct rpc_parameters *list, const char *name, uint32_t value);
void rpc_put_ullong(struct rpc_parameters *list, const char *name, uint64_t value);
void rpc_put_text(struct rpc_parameters *list, const char *name, const char *value);
void rpc_parameters_end(struct rpc_parameters *list);

#endif
