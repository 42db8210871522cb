# shellcheck shell=sh
# TLS for a Dask cluster: only who has this key can connect.
#
#   . examples/tls.sh FOLDER      in the shell of the scheduler, of each worker and of the command
#
# FOLDER, which must be private and the same for all, gets a key and a certificate that are good
# for 30 days. Addresses then begin with tls:// in place of tcp://.

tls=$(umask 077 && mkdir -p "$1" && cd "$1" && pwd)
if [ ! -e "$tls/key.pem" ]; then
    (umask 077 && openssl req -x509 -newkey rsa:3072 -nodes -days 30 -subj /CN=gpt-2 \
        -keyout "$tls/key.pem.new" -out "$tls/cert.pem" 2> /dev/null \
        && mv "$tls/key.pem.new" "$tls/key.pem")
fi
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true
export DASK_DISTRIBUTED__COMM__TLS__CA_FILE="$tls/cert.pem"
for role in SCHEDULER WORKER CLIENT; do
    export "DASK_DISTRIBUTED__COMM__TLS__${role}__CERT=$tls/cert.pem"
    export "DASK_DISTRIBUTED__COMM__TLS__${role}__KEY=$tls/key.pem"
done
