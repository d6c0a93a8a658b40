#!/bin/sh
# Makes the built-in clip anew, in the folder of this script. Needs FFmpeg 5.1
# with libx264 and drawtext, and DejaVu fonts.
set -eu
cd "$(dirname "$0")"
rm -f *.m4s
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Everything moves with a period that divides 8 s, so the loop has no jump.
# The picture: a slow plasma, a clock whose hand goes round once per loop with a
# mark each second, and a ball that crosses once per segment.
hand='2*PI*T/8'
dx='(X-470)'; dy='(Y-180)'
r="hypot($dx,$dy)"
along="($dx*sin($hand)-$dy*cos($hand))"
across="abs($dx*cos($hand)+$dy*sin($hand))"
mark="(between($r,106,122)*lt(abs(mod(atan2($dx,-$dy)+2*PI+PI/8,PI/4)-PI/8),0.03))"
ring="between($r,126,130)"
needle="(lt($across,3.5)*between($along,-18,98))"
ball="lt(hypot(X-(60+200*(0.5-0.5*cos(PI*T))),Y-290),13)"
lit="min(1,$ring+$mark+$needle+$ball)"
plasma="(sin(X/97+2*PI*T/8)+sin(Y/61-2*PI*T/4)+sin((X+Y)/113+2*PI*T/8))"
font=/usr/share/fonts/truetype/dejavu
ffmpeg -v error -y -f lavfi -i "color=black:size=640x360:rate=25:duration=8,format=yuv420p,
geq=lum='if(gt($lit,0.5),225,38+9*$plasma)':cb='138+6*sin(X/60+2*PI*T/8)':cr='118+5*sin(Y/40+2*PI*T/8)',
drawtext=fontfile=$font/DejaVuSans-Bold.ttf:text='treedn':x=44:y=60:fontsize=64:fontcolor=white,
drawtext=fontfile=$font/DejaVuSans.ttf:text='built-in clip, 8 s loop':x=48:y=136:fontsize=19:fontcolor=0xb8c7d9,
drawtext=fontfile=$font/DejaVuSansMono-Bold.ttf:text='%{eif\:t\:d\:2}.%{eif\:mod(t*100,100)\:d\:2}':x=48:y=186:fontsize=52:fontcolor=0x7fe0c0" \
  -f rawvideo "$tmp/picture.yuv"

# 0: 640x360, 1: 320x180. Closed GOPs of one segment, no B-frames, every frame a
# fragment of its own, as a low-latency encoder sends it.
ffmpeg -v error -y -f rawvideo -pixel_format yuv420p -video_size 640x360 -framerate 25 -i "$tmp/picture.yuv" \
  -filter_complex "[0:v]split=2[a][b];[b]scale=320:180[c]" -map "[a]" -map "[c]" \
  -c:v libx264 -preset veryslow -profile:v main -pix_fmt yuv420p -bf 0 -g 50 -keyint_min 50 -sc_threshold 0 -flags +cgop+bitexact \
  -b:v:0 480k -maxrate:v:0 600k -bufsize:v:0 600k -b:v:1 150k -maxrate:v:1 190k -bufsize:v:1 190k \
  -fflags +bitexact -f dash -seg_duration 2 -frag_type every_frame -use_template 1 -use_timeline 0 "$tmp/manifest.mpd"
mv "$tmp"/*.m4s .

# The sound: one note a second, the highest at the top of the loop. 24 s are
# encoded and the AAC frames of the middle 8 s are kept: 8 s are exactly 375
# frames of 1024 samples, and what precedes the first frame of the cut is what
# precedes it in the loop, so there is neither priming nor a seam. The encoder's
# delay of one frame makes frame 376 the one whose samples begin at 8 s.
note='st(0,mod(floor(t),8));if(eq(ld(0),0),880,if(eq(ld(0),4),659.26,if(eq(mod(ld(0),2),0),523.25,440)))'
ffmpeg -v error -y -f lavfi -i "aevalsrc='0.35*exp(-5*mod(t,1))*(1-exp(-400*mod(t,1)))*sin(2*PI*($note)*mod(t,1))':s=48000:d=24" \
  -c:a aac -b:a 64k -ac 2 -flags +bitexact -fflags +bitexact -f adts "$tmp/long.aac"
ffmpeg -v error -y -i "$tmp/long.aac" -ss 8.015 -frames:a 375 -c:a copy -f adts "$tmp/loop.aac"
# 2: AAC, five frames to a fragment.
ffmpeg -v error -y -i "$tmp/loop.aac" -c:a copy -bsf:a aac_adtstoasc -flags +bitexact -fflags +bitexact \
  -f dash -seg_duration 2 -frag_type duration -frag_duration 0.1 -use_template 1 -use_timeline 0 \
  -init_seg_name init-stream2.m4s -media_seg_name 'chunk-stream2-$Number%05d$.m4s' "$tmp/manifest.mpd"
mv "$tmp"/*.m4s .
