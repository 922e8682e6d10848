/**
 * Built-in functions that only read and give the same kind of answer on a follower as on the leader. Some
 * are volatile (`random`, `clock_timestamp`) but leave nothing behind. `ts_rewrite` and `query_to_xml` run SQL
 * text of their own, so they are not here. A name missing here costs nothing but a trip to the leader.
 * Source: PostgreSQL documentation, chapter "Functions and Operators".
 */
export const READ_ONLY_FUNCTIONS: ReadonlySet<string> = new Set(
  `abs acos acosd acosh age any_value area array_agg array_append array_cat array_dims array_fill
   array_length array_lower array_ndims array_position array_positions array_prepend array_remove
   array_replace array_reverse array_sample array_shuffle array_sort array_to_json array_to_string
   array_to_tsvector array_upper ascii asin asind asinh atan atan2 atan2d atand atanh avg bit_and bit_count
   bit_length bit_or bit_xor bool bool_and bool_or bound_box box broadcast btrim cardinality casefold cbrt
   ceil ceiling center char_length character_length chr circle clock_timestamp coalesce col_description
   concat concat_ws convert convert_from convert_to corr cos cosd cosh cot cotd count covar_pop covar_samp
   crc32 crc32c cume_dist current_database current_schema current_schemas date date_add date_bin date_part
   date_subtract date_trunc datemultirange daterange decode degrees dense_rank diagonal diameter div encode
   enum_first enum_last enum_range erf erfc every exp extract factorial family first_value float4 float8
   floor format format_type gamma gcd gen_random_uuid generate_series generate_subscripts get_bit get_byte
   get_current_ts_config greatest grouping has_column_privilege has_schema_privilege has_table_privilege
   hashtext hashtextextended height host hostmask inet_merge inet_same_family inet_server_addr
   inet_server_port initcap int2 int4 int4multirange int4range int8 int8multirange int8range is_normalized
   isclosed isempty isfinite isopen json json_agg json_array json_array_elements json_array_elements_text
   json_array_length json_arrayagg json_build_array json_build_object json_each json_each_text json_exists
   json_extract_path json_extract_path_text json_object json_object_agg json_object_keys json_objectagg
   json_populate_record json_populate_recordset json_query json_scalar json_serialize json_strip_nulls
   json_table json_to_record json_to_recordset json_typeof json_value jsonb_agg jsonb_array_elements
   jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
   jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg
   jsonb_object_keys jsonb_path_exists jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz
   jsonb_path_query jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first
   jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_recordset
   jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof
   justify_days justify_hours justify_interval lag last_value lcm lead least left length lgamma like_escape
   line ln localtime log log10 lower lower_inc lower_inf lpad lseg ltrim macaddr8_set7bit make_date
   make_interval make_time make_timestamp make_timestamptz masklen max md5 merge_action min min_scale mod
   mode money multirange netmask network normalize now npoints nth_value ntile nullif num_nonnulls
   num_nulls nummultirange numnode numrange obj_description octet_length overlaps overlay parse_ident path
   pclose percent_rank percentile_cont percentile_disc pg_client_encoding pg_column_size pg_get_expr
   pg_typeof phraseto_tsquery pi plainto_tsquery point polygon popen position pow power querytree
   quote_ident quote_literal quote_nullable radians radius random random_normal range_agg
   range_intersect_agg range_merge rank regexp_count regexp_instr regexp_like regexp_match regexp_matches
   regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count
   regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat replace reverse right round
   row_number row_to_json rpad rtrim scale set_bit set_byte set_masklen setweight sha224 sha256 sha384
   sha512 shobj_description sign similar_to_escape similarity sin sind sinh slope split_part sqrt
   starts_with statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array string_to_table
   strip strpos substr substring sum tan tand tanh text timeofday timezone to_ascii to_bin to_char to_date
   to_hex to_json to_jsonb to_number to_oct to_timestamp to_tsquery to_tsvector transaction_timestamp
   translate trim trim_array trim_scale trunc ts_debug ts_delete ts_filter ts_headline ts_lexize ts_parse
   ts_rank ts_rank_cd ts_token_type tsmultirange tsquery_phrase tsrange tstzmultirange tstzrange
   tsvector_to_array unaccent unistr unnest upper upper_inc upper_inf uuid_extract_timestamp
   uuid_extract_version uuidv4 uuidv7 var_pop var_samp variance version websearch_to_tsquery width
   width_bucket word_similarity xml_is_well_formed xmlagg xmlattributes xmlcomment xmlconcat xmlelement
   xmlexists xmlforest xmlparse xmlpi xmlroot xmlserialize xmltable xpath xpath_exists`.split(/\s+/),
);

/** What leaves something behind in the connection that ran it, so that the connection must be kept. */
export const SESSION_FUNCTIONS: ReadonlySet<string> = new Set(
  `set_config pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared
   pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all dblink_connect dblink_connect_u
   dblink_disconnect setseed pg_replication_origin_session_setup lo_open`.split(/\s+/),
);

/** Words that stand before a parenthesis without calling a function: keywords and types with a length. */
export const WORDS_BEFORE_PARENTHESIS: ReadonlySet<string> = new Set(
  `all and any array as asc between bit by case cast char character cross cube current_time
   current_timestamp decimal desc dec distinct else end except exists filter float from
   group grouping having ilike in inner intersect interval into is isnull join lateral left like limit
   localtime localtimestamp materialized natural nchar not notnull null numeric offset on only or
   order ordinality over partition recursive rollup row rows select sets similar some symmetric then time
   timestamp timestamptz union using values varbit varchar varying when where window with within zone`.split(
    /\s+/,
  ),
);
