/*
 * Tokens: every algorithm, with keys and signatures made by another implementation (Node.js' crypto); what must be
 * refused, in CouchDB's words.
 */
#include "check.h"
#include "base/arena.h"
#include "base/hash.h"
#include "httpapi/jwt.h"
#include "httpapi/totp.h"
#include "nocrypto.h"

/* clang-format off */
static const char *const keys[][2] = {
	{"hmac:h", "YSBzZWNyZXQgb2YgaG1hYw=="},
	{"rsa:r", "-----BEGIN PUBLIC KEY-----\\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAyBxxsBqyWl69RM7zVxCQ\\nYoM7L34z+WwdW2CagJZBodCI10Epu6D2/aLaVQBNXpJj1hfMp9JhLI8O6q3tfokj\\nJeguKTn19itMIOYDcGRptnKKE5Pm49rt9tWPftBEF0ha8jbhCTYfnTF8QupuWEe8\\ndiZoTgHfzXlnI1MW22afy8aXj+gPiLI8xoFYhFmzTUifi7FeMwaP2z/gK4um58eo\\nvn7qsKyreS48Rmei2lNfEcAHJPx+MVt+9B7z4con721fZ3wPBL7Xy9MU6p17pz7V\\nCil0xwfPis/OYfDu+KjMymljrnDBTqOIOV0q9dYVdhPb65+vfBsCoLcxsOGklcO1\\n4wIDAQAB\\n-----END PUBLIC KEY-----"},
	{"ec:e256", "-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEy/0XnduisK1KF1aEStKJmMm2pBZR\\n8N3SbKFEcC5vgg3bYMQKm7YY3cw/XaglNGbKc/7XHiUohfsVC7EpOXZcpw==\\n-----END PUBLIC KEY-----"},
	{"ec:e384", "-----BEGIN PUBLIC KEY-----\\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE49ZGaxMTe2lPrttOu394V+L12/Vc4xYi\\nva1Tt3anePxuAnULu5rhqRYKVtHfmu+0un96PLrEEPOYWj2vZNMo5voG/kA+8w8b\\n5l5PH+LDzMWRgPcPR7sk6pbIVhzkihRk\\n-----END PUBLIC KEY-----"},
	{"ec:e521", "-----BEGIN PUBLIC KEY-----\\nMIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBr2DnhgJHrP8ENaq4SksQHqGuRb1I\\nuk9Yo9R9pzgqEQfgwBdhYTVE3C8D7ya+R5vglWziMeDKX1fU36ZLcNDc96sBLz8D\\ncCEJCn+KpPvUvuMzgDnPT1XU2yMC6YtmVn+AS0ODI32wpH7fEwwYfT+1RfM3yS/3\\n/16G7agcBgdwq3dtoZY=\\n-----END PUBLIC KEY-----"},
	{"eddsa:ed", "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAVAclh/5hzPdwJPdaEUhQ4CpdCsUwIrdnbJ1SvtgrUFg=\\n-----END PUBLIC KEY-----"},
	{"eddsa:ed448", "-----BEGIN PUBLIC KEY-----\\nMEMwBQYDK2VxAzoAuen4H8tkuwds/SMs5sPr7D2pmCAKFrf0ca53+/VPnoZZbGud\\nKboEEMoBdfnY8PZY6ZnbuDbRly0A\\n-----END PUBLIC KEY-----"},
	{"rsa:p1", "-----BEGIN RSA PUBLIC KEY-----\\nMIIBCgKCAQEAyBxxsBqyWl69RM7zVxCQYoM7L34z+WwdW2CagJZBodCI10Epu6D2\\n/aLaVQBNXpJj1hfMp9JhLI8O6q3tfokjJeguKTn19itMIOYDcGRptnKKE5Pm49rt\\n9tWPftBEF0ha8jbhCTYfnTF8QupuWEe8diZoTgHfzXlnI1MW22afy8aXj+gPiLI8\\nxoFYhFmzTUifi7FeMwaP2z/gK4um58eovn7qsKyreS48Rmei2lNfEcAHJPx+MVt+\\n9B7z4con721fZ3wPBL7Xy9MU6p17pz7VCil0xwfPis/OYfDu+KjMymljrnDBTqOI\\nOV0q9dYVdhPb65+vfBsCoLcxsOGklcO14wIDAQAB\\n-----END RSA PUBLIC KEY-----"},
};

/* Each of {"sub":"ann","exp":4000000000,"_couchdb.roles":["r1","r2"]}. */
static const char *const good[] = {
	"eyJhbGciOiJIUzI1NiIsImtpZCI6ImgifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.1Q0M-PTPRUJsIQDW_pgU-q-7lZW1lTaRsFMbeeZwF6I",
	"eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.w3gx-UsSu9hDbjJdEjaMps3xaLPrR6-VridCvXUyerimc4mhB-67iNCmIqBMLnTPFSjYOLy9tImXRaKpgsqfBkcHb7ujE08NC9e15uyK8PCZkL1gIik6t3n5np2dYmImlk5nGCv7g1W17rc9Wn-oxDj0_wuU00fe3on83cQ5B_Toesu3wCSmzrl09VmaXb7eSPbEICusVXDtxXh1f8YaEcGrOjSXLwvDuVDTm8Rf2bDvWq7QE-8I01I14elX2Mq1TEVXvT7xtoxjU-v3xpaSv9x4wBYdum0GGgVIZYmipID3Kd4vQykYSyERWvHRMKB85DrbDR7L3_kboTOizN3O3Q",
	"eyJhbGciOiJFUzI1NiIsImtpZCI6ImUyNTYifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.ZbPyGeYP_Aah4QQDbFNhrvnKrI79FJ1rhWoD_jYSBpa6-NlXn9bj9UtsASx16zGUhQOD2LleaWcvAvaE2nICzQ",
	"eyJhbGciOiJIUzM4NCIsImtpZCI6ImgifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.kLuTSj986imYoi7pJaNeWpxw6tPc59icmSNFlOi4sCxvxcIXrMXHObT2G1EVh253",
	"eyJhbGciOiJSUzM4NCIsImtpZCI6InIifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.cj5AhYXav4HunozD2pZvYQly5Uk8Mh361sE558mRHJqXFuiyn65Bh4gMTfEOz8BTx6svxSrmqb2pg7U7l7SxgiDsR9F6I4en98-ed6Pqwy23Qk_vcPzltVs4VaoCV-s7ARL7InUOBO-idqcoSZ1Wuu2XgJLLM5AbNjtOnRjMpBgL4Ev-NuSdSSa7DYzqOXjxHeel1jPSpzdxbR5uAybMJWP7VaDPuJsE0vFNu7-1omXnpdJeTibJEUmkc_p8zCIxSLcT04VaKFmhRoPg_Bkt2B4HZuuLs5BWX5cDJURY9brLpL6xTRXel0oxWct_eXaIiaPVmZRRcCPQAj0V-yadrQ",
	"eyJhbGciOiJFUzM4NCIsImtpZCI6ImUzODQifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.PzAHnFDDX6btYl6-EnpZwtEVuMf00eGC7hAUz2Bloj1UlzXtaHC0gRyWlcw3U1FWon3TxBMHXW0RXfxOUygFno4stGzNWtUc5kUJa7d4bMU6JmFTnyWA1W0vZNhZyym0",
	"eyJhbGciOiJIUzUxMiIsImtpZCI6ImgifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.HGny8TVaYsZ2v03EQLlStnMhQcYcZ6yNAiFh91wnG_0-FcFsXzTU2IsktGavuSa9F8FdfAMRcXH5WqgCgnu1yg",
	"eyJhbGciOiJSUzUxMiIsImtpZCI6InIifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.JbX5KExCqsk03WpWoBgcj0I75DsWRiX9MlnfM6lOFKh-sPKVN52XdQaTYfdkpODq9vu68E8v7ZoebCclVrh3i5auXJrms0MFBWe8mmjJqInLIoC1lTPg4MsxoKtWYgfJQsp5Z65MyGl8UHHhk7uxxAZ8los0BPT04pIVX_HknlgqOC3vV-WC7OB2PIW8RQXCsgX6nALdhjoqn_Qrk0xQPU2Oj_qjFtFlesrn2p8juI8-A8w0nVH2r-I3vhUJyYahy-Lj8SEgf6FRVi8RBdQnrT5aBQqtj46odrvhNO7yC8_45BZd2iGS0-cRJsX6bBV8rT2QakBzGhgshPgrfEKRFw",
	"eyJhbGciOiJFUzUxMiIsImtpZCI6ImU1MjEifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.AfsF_vAjax-c8tOYhoo6CSr47ttNqUYR9CwWu-XWk_hatz7TIrkpuJ0Z5nAm-B-khd7jD9YpOYr1k4Gpiy4Z1-eDAYVIflT9K8JTX8oM6pz2InPhPhzWTPWbmguVmFA04qOBVPV0BrDm3nkRswbrPoc-1gJzFyBN8FK_AennBRVSHi_h",
	"eyJhbGciOiJSUzI1NiIsImtpZCI6InAxIn0.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.adfIX7MzgNY07SP14UwaprH8fN-8ZDfeu-OEpXW584Ka-ePJ_fxmTtUIvLAlqnS-51qNPpaTQ1npMudxqlIO9CY1hE8Xn1bq5P-vLjqxae0ag0RWlJgwMBSdAqwfjnt7f4A6fLCT-6VbJxw6LysZGhYRIM71WxeFlcFMGPFpFQGTW2IHDKllW0o0A3xhv8I7l-KO1ss6QVhSz-mo8m9PoYmMNB7_PYAdUHTMcv12qrzoDiguqPb-asdnDD446GftQOSM-usQk0zG-UL7CgS0ynN1qeihdH5P67XooFnJcaCP5CG-Njrc7x1VLZ-D9Uz99agW1c4H9Nyu3Za5HRuWIA",
	"eyJhbGciOiJFZERTQSIsImtpZCI6ImVkIn0.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.83bIsM8uw-XiJioL8BokGkJQ-5s4OJI2w01zCbNJwewImiXp_8Tm7VBrdchWULDky0t4OQon2OnMRA8ttVacDw",
	"eyJhbGciOiJFZERTQSIsImtpZCI6ImVkNDQ4In0.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.xdCRBdkZh3pVWHLnxcUHQElrfhYwDZuQ0ofSqB0WfXGhS1zpH5806ywJuAj2l1uYHhlFfA6tgoEA8mL8umJLY7LEHIqbUBLRWEVW1KZSVi5n7GFgXJG7XIovYjfI6ZhQcC9UNo7s6DCERc2FHRcX4QsA",
};

static const char *const bad[][2] = {
	{"Unknown kid", "eyJhbGciOiJIUzI1NiIsImtpZCI6InIifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.b56q1105N2YuOwgW3kPKJ94r4mdt2o9v0OgAwtddmGo"},
	{"Invalid alg header parameter", "eyJhbGciOiJub25lIiwia2lkIjoiaCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0."},
	{"Invalid alg header parameter", "eyJhbGciOiJQUzI1NiIsImtpZCI6InIifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.ntMthUrBSg_Blyy-xGE2jCCsKUqC1MRQ2vs07dWgofbBvVmk3xJECujxvdQ3qkGXwrt2h2FdROOMLmiRfm8bNlzhxDODVIzeBQKtUYP0YxiQ6Qxpr9I8jCWI9-wHuhn73X3h6eVWB6HaUL9ZIdvO3R3rtFl2qg5QlG7mGhLkfzyu8eVIwEAyxc_U8DI4TmFKf_KxhrwYWWs_LMgQ0YCd1aUrCEsx08FjTGz7ToC1Ua6AqGSpwQ-WnWwl8gX_bvtYv3n1gRVgYx7J_VxZSh0p41d7RDVbPu2xVpHDU42ZxurdcUjWMulOAXoV3eLPlbRQosg_fCnNSUJaN4rF5iML0A"},
	{"Bad signature", "eyJhbGciOiJFUzI1NiIsImtpZCI6ImUyNTYifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.MEYCIQCdc4WRmsd6AnuJvBbQdrDVFPXmgf5wxBhpX1EMdO2GSQIhANC_Z-gA6u8WPPuCLI1rKsMTxpMcA2hoW2z3EhlnwD9o"},
	{"Bad signature", "eyJhbGciOiJFUzM4NCIsImtpZCI6ImUyNTYifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.MxbDrIf8fjuIlbNHbDqd5QXnytPNOrd9mfTGnsUHI0ZbZOd6pmzJLlvy3AoX0qCtROLeC4o7iGQS09bImQkRdg"},
	{"Bad signature", "eyJhbGciOiJFUzI1NiIsImtpZCI6ImUyNTYifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	{"Bad signature", "eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	{"Bad signature", "eyJhbGciOiJSUzUxMiIsImtpZCI6InIifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.eDXafjC9-PdYhLPerEgS_IPW9sCt6Ba_B1s5MiocWtGBPjUx-Qf92jmXeEh8FBoabFUzOe4hcJbit5zaWov4dS75jiKmhRTmdRmFb9e9eBfVQ2pvdF8dzpDRDvmwtDo2fqSxA2LINkFEJsxjrY73l52cwjsf7UYaEzeyyK6GTPXZkv-eZxcJEXFnLCgakLsT5aoGAOP-wz1UJWiOf5Z3wyWSl5xCLysN4JXnLGbZSuFTeuuFx80gcmtyIXsPQJTah7WbdEYyI096WAX1BzPjW6drLKU58yUv7TG5qbp3EZgmho6XLlAN7Dp7B-CD6mD8dw7RW643WOdnMjql4hIhwQ"},
	{"Bad HMAC", "eyJhbGciOiJIUzI1NiIsImtpZCI6ImgifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.SmM2lCBuac5uSh6WkkZ5nqNWZNbn1ZH-ONhwNsSNuOk"},
	{"Bad HMAC", "eyJhbGciOiJIUzI1NiIsImtpZCI6ImgifQ.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0."},
	{"Bad signature", "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkNDQ4In0.eyJzdWIiOiJhbm4iLCJleHAiOjQwMDAwMDAwMDAsIl9jb3VjaGRiLnJvbGVzIjpbInIxIiwicjIiXX0.LVMuiHfAAdzgbZpAFeR4G_ob7tU3ttjKR0oCVI9QxEg-UPrK_TKwtf-Ex2zrA-IeyvybWTR7pKZgLrb3PlgRDw"},
};
/* clang-format on */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NOW UINT64_C(1700000000)

static struct arena *arena;

static void
add_keys(struct jwt_rules *rules)
{
	CHECK_INT(jwt_rules_require(rules, "exp", arena), 0);
	CHECK_INT(jwt_rules_roles(rules, "_couchdb.roles", NULL, arena), 0);
	for (size_t i = 0; i < COUNT(keys); i++)
		CHECK_INT(jwt_rules_key(rules, keys[i][0], keys[i][1]), 0);
}

static int
verify(const struct jwt_rules *rules, const char *token, struct jwt_claims *out, struct errtext *why)
{
	why->text[0] = '\0';
	return jwt_verify(rules, (struct jstr){token, strlen(token)}, NOW, arena, out, why);
}

static void
test_algorithms(void)
{
	struct jwt_rules rules = {0};
	struct jwt_claims c;
	struct errtext why;

	add_keys(&rules);
	for (size_t i = 0; i < COUNT(good); i++) {
		char broken[1024];
		size_t len = strlen(good[i]), dot = (size_t)(strchr(good[i], '.') - good[i]);

		if (!CHECK_INT(verify(&rules, good[i], &c, &why), 0))
			fprintf(stderr, "%s: %s\n", good[i], why.text);
		CHECK_MEM(c.sub.s, c.sub.len, "ann", 3);
		CHECK_INT(c.nroles, 2);
		CHECK_STR(c.roles[0], "r1");
		CHECK_STR(c.roles[1], "r2");
		CHECK_INT(c.until_s, 4000000000);
		/* One bit elsewhere, in the claims or in the signature. */
		for (int where = 0; where < 2; where++) {
			char *at = broken + (where ? len - 10 : dot + 30);

			memcpy(broken, good[i], len + 1);
			*at = *at == 'A' ? 'B' : 'A';
			CHECK_INT(verify(&rules, broken, &c, &why), ERR_BAD_REQUEST);
		}
		nocrypto_none = 1;
		if (!CHECK_INT(verify(&rules, good[i], &c, &why), ERR_NOMEM))
			fprintf(stderr, "%.30s: %s\n", good[i], why.text);
		nocrypto_none = 0;
		broken[len - 20] = '\0';
		CHECK_INT(verify(&rules, broken, &c, &why), ERR_BAD_REQUEST);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		CHECK_INT(verify(&rules, bad[i][1], &c, &why), ERR_BAD_REQUEST);
		CHECK_STR(why.text, bad[i][0]);
	}
	jwt_rules_release(&rules);
}

static void
put_part(struct buf *b, const char *text)
{
	size_t start = b->len;

	(void)base64_put(b, text, strlen(text));
	while (b->len > start && b->data[b->len - 1] == '=')
		b->len--;
	for (size_t i = start; i < b->len; i++)
		b->data[i] = b->data[i] == '+' ? '-' : b->data[i] == '/' ? '_' : b->data[i];
}

/* A token of these texts, signed with "key". */
static const char *
make(const char *header, const char *payload)
{
	static char out[40000];
	unsigned char mac[SHA256_LEN];
	struct buf b, m;

	buf_init(&b, sizeof(out));
	buf_init(&m, 100);
	put_part(&b, header);
	(void)buf_putc(&b, '.');
	put_part(&b, payload);
	hash_hmac_sha256("key", 3, b.data, b.len, mac);
	(void)base64_put(&m, mac, sizeof(mac));
	for (size_t i = 0; i < m.len; i++)
		m.data[i] = m.data[i] == '+' ? '-' : m.data[i] == '/' ? '_' : m.data[i];
	(void)snprintf(out, sizeof(out), "%.*s.%.*s", (int)b.len, b.data, (int)m.len - 1, m.data);
	buf_release(&b);
	buf_release(&m);
	return out;
}

static void
expect(const struct jwt_rules *rules, const char *header, const char *payload, int err, const char *text)
{
	struct jwt_claims c;
	struct errtext why;

	CHECK_INT(verify(rules, make(header, payload), &c, &why), err);
	if (!CHECK_STR(why.text, text))
		fprintf(stderr, "%s %s\n", header, payload);
}

static struct jwt_rules
rules_of(const char *required, const char *path)
{
	struct jwt_rules rules = {0};

	CHECK_INT(jwt_rules_require(&rules, required, arena), 0);
	CHECK_INT(jwt_rules_roles(&rules, "_couchdb.roles", path, arena), 0);
	CHECK_INT(jwt_rules_key(&rules, "hmac:_default", "a2V5"), 0);
	return rules;
}

#define H "{\"alg\":\"HS256\"}"

static void
test_header(void)
{
	struct jwt_rules rules = rules_of("typ, kid", NULL);

	expect(&rules, "{}", "{}", ERR_BAD_REQUEST, "Missing typ header parameter");
	expect(&rules, "{\"typ\":\"jwt\"}", "{}", ERR_BAD_REQUEST, "Invalid typ header parameter");
	expect(&rules, "{\"typ\":\"JWT\"}", "{}", ERR_BAD_REQUEST, "Missing alg header parameter");
	expect(&rules, "{\"typ\":\"JWT\",\"alg\":\"none\"}", "{}", ERR_BAD_REQUEST, "Invalid alg header parameter");
	expect(&rules, "{\"typ\":\"JWT\",\"alg\":\"hs256\"}", "{}", ERR_BAD_REQUEST, "Invalid alg header parameter");
	expect(&rules, "{\"typ\":\"JWT\",\"alg\":\"HS256\\u0000\"}", "{}", ERR_BAD_REQUEST,
	    "Invalid alg header parameter");
	expect(&rules, "{\"typ\":\"JWT\",\"alg\":[\"HS256\"]}", "{}", ERR_BAD_REQUEST, "Invalid alg header parameter");
	expect(&rules, "{\"typ\":\"JWT\",\"alg\":\"HS256\"}", "{\"sub\":\"a\"}", ERR_BAD_REQUEST, "Missing kid claim");
	expect(
	    &rules, "{\"typ\":\"JWT\",\"alg\":\"HS256\",\"kid\":7}", "{\"sub\":\"a\"}", ERR_BAD_REQUEST, "Unknown kid");
	expect(&rules, "{\"typ\":\"JWT\",\"alg\":\"HS256\",\"kid\":\"_default\"}", "{\"sub\":\"a\"}", 0, "");
	expect(&rules, "{\"typ\":\"JWT\",\"alg\":\"HS256\",\"kid\":\"x\"}", "{\"sub\":\"a\"}", ERR_BAD_REQUEST,
	    "Unknown kid");
	expect(&rules, "{\"typ\":\"JWT\",\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", "{\"sub\":\"a\"}",
	    ERR_BAD_REQUEST, "Invalid crit header parameter");
	expect(&rules, "[]", "{}", ERR_BAD_REQUEST, "Not an object");
	expect(&rules, "{", "{}", ERR_BAD_REQUEST, "Malformed token");
	expect(&rules, "", "", ERR_BAD_REQUEST, "Malformed token");
	jwt_rules_release(&rules);
}

static void
test_claims(void)
{
	struct jwt_rules rules = rules_of("exp, {iss, \"me\"}", NULL);

	expect(&rules, H, "[]", ERR_BAD_REQUEST, "Not an object");
	expect(&rules, H, "{}x", ERR_BAD_REQUEST, "Malformed token");
	expect(&rules, H, "{}", ERR_BAD_REQUEST, "Missing iss claim");
	expect(&rules, H, "{\"iss\":\"you\"}", ERR_BAD_REQUEST, "Invalid iss claim");
	expect(&rules, H, "{\"iss\":\"me\"}", ERR_BAD_REQUEST, "Missing exp claim");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":1700000000}", ERR_UNAUTHORIZED, "exp not in future");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":1700000001}", ERR_UNAUTHORIZED, "Token missing sub claim.");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":1700000001,\"sub\":\"a\"}", 0, "");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":1700000000.5,\"sub\":\"a\"}", 0, "");
	expect(
	    &rules, H, "{\"iss\":\"me\",\"exp\":\"4000000000\",\"sub\":\"a\"}", ERR_BAD_REQUEST, "Invalid exp claim");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":null,\"sub\":\"a\"}", ERR_BAD_REQUEST, "Invalid exp claim");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":1e99,\"sub\":\"a\"}", 0, "");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":1e999,\"sub\":\"a\"}", ERR_BAD_REQUEST, "Malformed token");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":4e9,\"nbf\":1700000000,\"sub\":\"a\"}", ERR_UNAUTHORIZED,
	    "nbf not in past");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":4e9,\"nbf\":1699999999,\"sub\":\"a\"}", 0, "");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":4e9,\"sub\":7}", ERR_BAD_REQUEST, "Malformed token");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":4e9,\"sub\":\"\"}", ERR_UNAUTHORIZED, "Token missing sub claim.");
	expect(&rules, H, "{\"iss\":\"me\",\"exp\":4e9,\"sub\":\"admin\\u0000x\"}", ERR_BAD_REQUEST, "Malformed token");
	jwt_rules_release(&rules);
	/* A time that is over counts also where none is asked for. */
	rules = rules_of("", NULL);
	expect(&rules, H, "{\"sub\":\"a\",\"exp\":1}", ERR_UNAUTHORIZED, "exp not in future");
	expect(&rules, H, "{\"sub\":\"a\"}", 0, "");
	jwt_rules_release(&rules);
}

static void
expect_roles(const struct jwt_rules *rules, const char *payload, const char *want)
{
	struct jwt_claims c;
	struct errtext why;
	char got[256] = "";
	int err = verify(rules, make(H, payload), &c, &why);

	for (size_t i = 0; i < c.nroles && !err; i++)
		(void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s;", c.roles[i]);
	CHECK_STR(err ? why.text : got, want);
}

static void
test_roles(void)
{
	struct jwt_rules rules = rules_of("", NULL);

	expect_roles(&rules, "{\"sub\":\"a\"}", "");
	expect_roles(&rules, "{\"sub\":\"a\",\"_couchdb.roles\":[]}", "");
	expect_roles(&rules, "{\"sub\":\"a\",\"_couchdb.roles\":[\"x\",\"\\u00e9\",\"_admin\"]}", "x;\xc3\xa9;_admin;");
	expect_roles(&rules, "{\"sub\":\"a\",\"_couchdb.roles\":\"x , y,,z,,\"}", "x;y;;z;");
	expect_roles(&rules, "{\"sub\":\"a\",\"_couchdb.roles\":[1]}", "Malformed token");
	expect_roles(&rules, "{\"sub\":\"a\",\"_couchdb.roles\":1}", "Malformed token");
	expect_roles(&rules, "{\"sub\":\"a\",\"_couchdb.roles\":[\"_admin\\u0000x\"]}", "Malformed token");
	jwt_rules_release(&rules);
	rules = rules_of("", "a.b\\.c.d");
	expect_roles(&rules, "{\"sub\":\"a\",\"a\":{\"b.c\":{\"d\":[\"x\"]}}}", "x;");
	expect_roles(&rules, "{\"sub\":\"a\",\"a\":{\"b.c\":{\"d\":\"x\"}},\"d\":[\"_admin\"]}", "x;");
	expect_roles(&rules, "{\"sub\":\"a\",\"a\":{\"b.c\":{}}}", "missing json key: d");
	expect_roles(&rules, "{\"sub\":\"a\",\"a\":[]}", "json_mismatch");
	expect_roles(&rules, "{\"sub\":\"a\"}", "missing json key: a");
	jwt_rules_release(&rules);
}

static void
test_rules(void)
{
	static const char *const senseless[] = {"!!", "aud", "{exp, \"5\"}", "exp, sub, nonce", "{iss, me}"};
	struct jwt_rules rules;
	struct jwt_claims c;
	struct errtext why;

	for (size_t i = 0; i < COUNT(senseless); i++) {
		rules = rules_of(senseless[i], NULL);
		CHECK_INT(verify(&rules, make(H, "{\"sub\":\"a\",\"exp\":4e9}"), &c, &why), ERR_INTERNAL);
		jwt_rules_release(&rules);
	}
	rules = rules_of("exp,nbf iat  sub", "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a");
	CHECK_INT(rules.bad, 0);
	CHECK_INT(rules.need, JWT_NEED_EXP | JWT_NEED_NBF | JWT_NEED_IAT);
	CHECK_INT(rules.npath, JWT_PATH_MAX);
	jwt_rules_release(&rules);
	rules = rules_of("", "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a");
	CHECK_INT(rules.bad, 1);
	jwt_rules_release(&rules);
}

static void
test_keys(void)
{
	struct jwt_rules rules = rules_of("", NULL);
	struct jwt_claims c;
	struct errtext why;

	CHECK_INT(jwt_rules_key(&rules, "hmac:empty", ""), ERR_BAD_REQUEST);
	CHECK_INT(jwt_rules_key(&rules, "hmac:none", "!"), ERR_BAD_REQUEST);
	CHECK_INT(jwt_rules_key(&rules, "rsa:none", "-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----"),
	    ERR_BAD_REQUEST);
	CHECK_INT(jwt_rules_key(&rules, "ec:rsa", keys[1][1]), ERR_BAD_REQUEST);
	CHECK_INT(jwt_rules_key(&rules, "rsa:ec", keys[2][1]), ERR_BAD_REQUEST);
	CHECK_INT(jwt_rules_key(&rules, "eddsa:ec", keys[2][1]), ERR_BAD_REQUEST);
	CHECK_INT(jwt_rules_key(&rules, "foo:x", "a2V5"), ERR_BAD_REQUEST);
	CHECK_INT(jwt_rules_key(&rules, "hmac", "a2V5"), ERR_BAD_REQUEST);
	CHECK_INT(jwt_rules_key(&rules, "hmac:with:colon", "a2V5"), 0);
	expect(&rules, "{\"alg\":\"HS256\",\"kid\":\"empty\"}", "{\"sub\":\"a\"}", ERR_BAD_REQUEST, "Not a valid key");
	expect(&rules, "{\"alg\":\"RS256\",\"kid\":\"none\"}", "{\"sub\":\"a\"}", ERR_BAD_REQUEST, "Not a valid key");
	expect(
	    &rules, "{\"alg\":\"ES256\",\"kid\":\"rsa\"}", "{\"sub\":\"a\"}", ERR_BAD_REQUEST, "not an EC public key");
	expect(
	    &rules, "{\"alg\":\"RS256\",\"kid\":\"ec\"}", "{\"sub\":\"a\"}", ERR_BAD_REQUEST, "not an RSA public key");
	expect(&rules, "{\"alg\":\"HS256\",\"kid\":\"with:colon\"}", "{\"sub\":\"a\"}", 0, "");
	CHECK_INT(verify(&rules, "a.b", &c, &why), ERR_BAD_REQUEST);
	CHECK_STR(why.text, "Malformed token");
	CHECK_INT(verify(&rules, "a.b.c.d", &c, &why), ERR_BAD_REQUEST);
	CHECK_INT(verify(&rules, "", &c, &why), ERR_BAD_REQUEST);
	jwt_rules_release(&rules);
	for (unsigned i = 0; i <= JWT_KEYS_MAX; i++)
		CHECK_INT(jwt_rules_key(&rules, "hmac:x", "a2V5"), i < JWT_KEYS_MAX ? 0 : ERR_TOO_LARGE);
	jwt_rules_release(&rules);
}

/* Neither a long token nor one with many roles is taken. */
static void
test_bounds(void)
{
	struct jwt_rules rules = rules_of("", NULL);
	static char payload[20000];
	char *p = payload + snprintf(payload, sizeof(payload), "{\"sub\":\"a\",\"_couchdb.roles\":[\"x\"");

	for (unsigned i = 1; i < JWT_ROLES_MAX; i++)
		p += snprintf(p, 8, ",\"x\"");
	(void)snprintf(p, 8, "]}");
	expect(&rules, H, payload, 0, "");
	(void)snprintf(p, 8, ",\"x\"]}");
	expect(&rules, H, payload, ERR_BAD_REQUEST, "Malformed token");
	memset(payload, ' ', JWT_LEN_MAX);
	expect(&rules, H, payload, ERR_BAD_REQUEST, "Malformed token");
	jwt_rules_release(&rules);
}

static void
totp(const char *settings, const char *token, uint64_t now_s, int is_good)
{
	int ok;

	CHECK_INT(totp_verify((struct jstr){settings, strlen(settings)}, (struct jstr){token, strlen(token)}, now_s,
		      arena, &ok),
	    0);
	CHECK_INT(ok, is_good);
}

/* RFC 6238 appendix B. */
static void
test_totp(void)
{
	static const char sha1[] = "{\"key\":\"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\",\"length\":8}";
	static const char sha256[] = "{\"algorithm\":\"sha256\",\"length\":8,"
				     "\"key\":\"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA====\"}";
	static const char six[] = "{\"key\":\"gezdgnbvgy3tqojqgezdgnbvgy3tqojq\",\"x\":[1]}";
	int ok;

	totp(sha1, "94287082", 59, 1);
	totp(sha1, "07081804", 1111111109, 1);
	totp(sha1, "65353130", 20000000000, 1);
	totp(sha256, "46119246", 59, 1);
	totp(sha256, "68084774", 1111111109, 1);
	totp(six, "287082", 59, 1);
	nocrypto_none = 1;
	CHECK_INT(totp_verify((struct jstr){six, strlen(six)}, (struct jstr){"287082", 6}, 59, arena, &ok), ERR_NOMEM);
	CHECK_INT(ok, 0);
	nocrypto_none = 0;
	totp(six, "287082", 89, 1);
	totp(six, "287082", 29, 1);
	totp(six, "287082", 90, 0);
	totp(six, "287083", 59, 0);
	totp(six, "28708", 59, 0);
	totp(six, "", 59, 0);
	/* What makes no sense opens nothing. */
	totp("{\"key\":\"\",\"length\":0}", "", 59, 0);
	totp("{\"key\":\"GEZA\",\"length\":0}", "", 59, 0);
	totp("{\"key\":\"GEZA\",\"algorithm\":\"none\"}", "000000", 59, 0);
	totp("{\"key\":1}", "000000", 59, 0);
	totp("{\"key\":\"!\"}", "000000", 59, 0);
	totp("null", "", 59, 0);
	totp("7", "", 59, 0);
}

int
main(void)
{
	nocrypto_begin();
	if (arena_new((size_t)1 << 30, &arena))
		return 1;
	test_algorithms();
	test_header();
	test_claims();
	test_roles();
	test_rules();
	test_keys();
	test_bounds();
	test_totp();
	arena_free(arena);
	return check_done();
}
