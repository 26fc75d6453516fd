/* What the header of a frame may ask for. */
#include <check.h>
#include <stdlib.h>

#include "tests/unit/suite.h"
#include "virtio/net_header.h"

#define CSUM NET_BIT(VIRTIO_NET_F_CSUM)
#define TSO4 (CSUM | NET_BIT(VIRTIO_NET_F_HOST_TSO4))
#define GUEST_CSUM NET_BIT(VIRTIO_NET_F_GUEST_CSUM)

static struct virtio_net_hdr_v1 tso(uint8_t type)
{
	return (struct virtio_net_hdr_v1){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = type,
		.hdr_len = 54,
		.gso_size = 1448,
		.csum_start = 34,
		.csum_offset = 16,
	};
}

START_TEST(a_plain_header_passes_with_no_feature)
{
	struct virtio_net_hdr_v1 h = {0};
	ck_assert(net_header_check_tx(&h, 60, 0));
	ck_assert(net_header_check_rx(&h, 0));
}
END_TEST

START_TEST(the_checksum_must_lie_inside_the_frame_and_behind_the_ethernet_header)
{
	struct virtio_net_hdr_v1 h = tso(0);
	ck_assert(net_header_check_tx(&h, 52, CSUM));
	h = tso(0);
	ck_assert(!net_header_check_tx(&h, 51, CSUM));
	h = tso(0);
	h.csum_start = 13;
	ck_assert(!net_header_check_tx(&h, 1000, CSUM));
	h.csum_start = 14;
	ck_assert(net_header_check_tx(&h, 1000, CSUM));
	h.csum_start = 0xffff;
	h.csum_offset = 0xffff;
	ck_assert(!net_header_check_tx(&h, 65535, CSUM));
	h.csum_offset = 1;
	ck_assert(!net_header_check_tx(&h, 65536, CSUM));
}
END_TEST

START_TEST(checksum_and_segmentation_need_their_features)
{
	static const struct {
		uint8_t type;
		unsigned bit;
	} types[] = {
		{VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4},
		{VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6},
		{VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_F_HOST_UFO},
		{NET_GSO_UDP_L4, NET_F_HOST_USO},
	};
	struct virtio_net_hdr_v1 h = tso(0);
	ck_assert(!net_header_check_tx(&h, 1000, 0));
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		h = tso(types[i].type);
		ck_assert(net_header_check_tx(&h, 1000, CSUM | NET_BIT(types[i].bit)));
		h = tso(types[i].type);
		ck_assert(!net_header_check_tx(&h, 1000, NET_HOST_OFFLOADS & ~NET_BIT(types[i].bit)));
	}
	h = tso(VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN);
	ck_assert(!net_header_check_tx(&h, 1000, TSO4));
	ck_assert(net_header_check_tx(&h, 1000, TSO4 | NET_BIT(VIRTIO_NET_F_HOST_ECN)));
}
END_TEST

START_TEST(unknown_types_and_absurd_sizes_are_refused)
{
	struct virtio_net_hdr_v1 h = tso(2);
	ck_assert(!net_header_check_tx(&h, 1000, NET_HOST_OFFLOADS));
	h = tso(0x7f);
	ck_assert(!net_header_check_tx(&h, 1000, NET_HOST_OFFLOADS));
	h = tso(VIRTIO_NET_HDR_GSO_ECN);
	ck_assert(!net_header_check_tx(&h, 1000, NET_HOST_OFFLOADS));
	h = tso(VIRTIO_NET_HDR_GSO_UDP | VIRTIO_NET_HDR_GSO_ECN);
	ck_assert(!net_header_check_tx(&h, 1000, NET_HOST_OFFLOADS));
	h = tso(VIRTIO_NET_HDR_GSO_TCPV4);
	h.gso_size = 0;
	ck_assert(!net_header_check_tx(&h, 1000, TSO4));
	h = tso(VIRTIO_NET_HDR_GSO_TCPV4);
	h.hdr_len = 1001;
	ck_assert(!net_header_check_tx(&h, 1000, TSO4));
}
END_TEST

START_TEST(what_means_nothing_is_cleared_before_the_kernel_sees_it)
{
	struct virtio_net_hdr_v1 h = {
		.flags = 0xfe, .hdr_len = 7, .gso_size = 8, .csum_start = 9, .csum_offset = 10, .num_buffers = 11};
	static const struct virtio_net_hdr_v1 zero;
	ck_assert(net_header_check_tx(&h, 60, 0));
	ck_assert_mem_eq(&h, &zero, sizeof(h));
}
END_TEST

START_TEST(a_guest_gets_only_the_offloads_that_it_accepts)
{
	struct virtio_net_hdr_v1 h = {.flags = VIRTIO_NET_HDR_F_DATA_VALID};
	ck_assert(net_header_check_rx(&h, 0));
	ck_assert_uint_eq(h.flags, 0);
	h.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	ck_assert(net_header_check_rx(&h, GUEST_CSUM));
	ck_assert_uint_eq(h.flags, VIRTIO_NET_HDR_F_DATA_VALID);
	h = tso(0);
	ck_assert(!net_header_check_rx(&h, 0));
	ck_assert(net_header_check_rx(&h, GUEST_CSUM));
	h = tso(VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert(!net_header_check_rx(&h, GUEST_CSUM));
	ck_assert(net_header_check_rx(&h, GUEST_CSUM | NET_BIT(VIRTIO_NET_F_GUEST_TSO4)));
}
END_TEST

START_TEST(a_random_header_that_passes_points_inside_its_frame)
{
	const char *text = getenv("PAGODA_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : 1;
	for (unsigned i = 0; i < 1000000; i++) {
		uint64_t features = (uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed) << 11 ^ (uint64_t)rand_r(&seed);
		size_t len = 14 + (size_t)rand_r(&seed) % 200;
		struct virtio_net_hdr_v1 h = {
			.flags = (uint8_t)(rand_r(&seed) & 3),
			.gso_type = (uint8_t)(rand_r(&seed) & 0x87),
			.hdr_len = (uint16_t)(rand_r(&seed) % 300),
			.gso_size = (uint16_t)(rand_r(&seed) % 300),
			.csum_start = (uint16_t)(rand_r(&seed) % 300),
			.csum_offset = (uint16_t)(rand_r(&seed) % 300),
		};
		if (!net_header_check_tx(&h, len, features))
			continue;
		if (h.flags)
			ck_assert((features & CSUM) && h.csum_start + h.csum_offset + 2u <= len);
		ck_assert_uint_le(h.hdr_len, len);
		ck_assert(h.gso_type == 0 || h.gso_size);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("net_header");
	TCase *c = tcase_create("header");
	tcase_set_timeout(c, 60);
	tcase_add_test(c, a_plain_header_passes_with_no_feature);
	tcase_add_test(c, the_checksum_must_lie_inside_the_frame_and_behind_the_ethernet_header);
	tcase_add_test(c, checksum_and_segmentation_need_their_features);
	tcase_add_test(c, unknown_types_and_absurd_sizes_are_refused);
	tcase_add_test(c, what_means_nothing_is_cleared_before_the_kernel_sees_it);
	tcase_add_test(c, a_guest_gets_only_the_offloads_that_it_accepts);
	tcase_add_test(c, a_random_header_that_passes_points_inside_its_frame);
	suite_add_tcase(s, c);
	return suite_run(s);
}
