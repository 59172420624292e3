"""The words and sentences that stories are made of: cards for the outline, and what the story says for each.

Many things have two meanings, one out of doors and one in town. `THINGS` tells both: what the word means, then what the
thing is like, then what two friends do with it. The place on the outline decides which of the two is meant.
"""

HEROES = {
    **dict.fromkeys(("Mara", "Nell", "Ines", "Lotte", "Yuki", "Amina", "Freya", "Rosa"), "she"),
    **dict.fromkeys(("Tom", "Omar", "Finn", "Jonas", "Kofi", "Pavel", "Hugo", "Ravi"), "he"),
}
PRONOUNS = {"she": ("she", "She", "her"), "he": ("he", "He", "his")}

PLACES = {
    **dict.fromkeys(("forest", "island", "valley", "lake", "meadow", "mountain"), "wild"),
    **dict.fromkeys(("market", "school", "castle", "workshop", "theatre", "harbour"), "town"),
}

THINGS = {
    "bat": {
        "wild": ("an animal", "It folds its wings and hangs upside down.", "They watch it chase moths at dusk."),
        "town": ("a club", "It is carved of wood and fits both hands.", "They hit a ball over the roof."),
    },
    "crane": {
        "wild": ("a bird", "It stands on one long leg in the reeds.", "They count the eggs in its nest."),
        "town": ("a machine", "It is tall and made of iron beams.", "They lift heavy stones with its hook."),
    },
    "seal": {
        "wild": ("an animal", "It has whiskers and a wet round belly.", "They feed it a silver fish."),
        "town": ("a stamp", "It is of red wax with a crown on it.", "They break it and unroll the parchment."),
    },
    "mouse": {
        "wild": ("an animal", "It squeaks and nibbles a crumb of cheese.", "They follow it to a tiny hole."),
        "town": ("a device", "It has two buttons and a thin cable.", "They click and draw on the screen."),
    },
    "kite": {
        "wild": ("a bird", "It is a brown hawk that circles high.", "They see it dive for its prey."),
        "town": ("a toy", "It is of paper with a tail of ribbons.", "They hold its string and run."),
    },
    "trunk": {
        "wild": ("part of a tree", "It is thick with bark and moss.", "They climb it up to the branches."),
        "town": ("a chest", "It has a lid and a rusty lock.", "They open it and try on old coats."),
    },
    "spring": {
        "wild": ("water", "It bubbles cold and clear from the ground.", "They drink from it and fill a jug."),
        "town": ("a coil", "It is of steel and bounces up and down.", "They fit it into a broken clock."),
    },
    "bank": {
        "wild": ("a slope", "It is green and slopes to the water.", "They lie on it and dip their toes."),
        "town": ("a house for money", "It has a counter and a safe full of coins.", "They save three pennies in it."),
    },
    "ring": {
        "wild": ("a circle of mushrooms", "It is a circle of toadstools.", "They step inside it and meet elves."),
        "town": ("a jewel", "It is of gold with a ruby.", "They try it on every finger."),
    },
    "star": {
        "wild": ("a light in the sky", "It twinkles far above in the dark.", "They steer home by its light."),
        "town": ("a badge", "It is of tin and has five points.", "They pin it on a jacket."),
    },
    "needle": {
        "wild": ("a leaf of a pine", "It falls green and sharp from a pine.", "They smell it and brew some tea."),
        "town": ("a tool", "It is thin with thread in its eye.", "They sew a patch on a sleeve."),
    },
    "leaf": {
        "wild": ("part of a tree", "It drifts down from an oak all yellow.", "They let it float like a boat."),
        "town": ("a page", "It is a page torn from a diary.", "They read what is written in ink."),
    },
    "log": {
        "wild": ("a piece of wood", "It is a fallen beech full of beetles.", "They roll it and sit down on it."),
        "town": ("a book", "It tells of every voyage of a ship.", "They turn its pages and dream of whales."),
    },
    "comb": {
        "wild": ("honeycomb", "It drips with honey and hums with bees.", "They taste it and lick their thumbs."),
        "town": ("a thing for hair", "It has ivory teeth and a handle.", "They untangle their curls with it."),
    },
    "nut": {
        "wild": ("a fruit", "It has a brown shell and a sweet kernel.", "They crack it and share the halves."),
        "town": ("a piece of metal", "It is of metal with six sides.", "They screw it on a wobbly wheel."),
    },
    "horn": {
        "wild": ("part of a ram", "It grew on the head of an old ram.", "They trace its curl and polish it."),
        "town": ("an instrument", "It is of brass and sounds like an elephant.", "They blow it till windows shake."),
    },
}

WEATHERS = {
    "rain": "Soft rain taps on {her} hat.",
    "snow": "Deep snow creaks under {her} boots.",
    "fog": "Thick fog hides the path.",
    "storm": "A wild storm howls all day.",
    "wind": "The wind pulls at {her} scarf.",
    "frost": "White frost covers the fence.",
    "sunshine": "Warm sunshine fills the air.",
    "moonlight": "Pale moonlight shows the way.",
    "rainbow": "A rainbow bends over the hills.",
    "hail": "Loud hail drums on {her} umbrella.",
}

FRIENDS = ("fox", "owl", "bear", "hare", "goose", "giant", "wizard", "sailor", "baker", "queen", "pirate", "knight")

ENDINGS = {
    "feast": "The day ends with a feast of bread and plums.",
    "song": "On the way back they sing a song.",
    "dance": "In the evening everybody joins a dance.",
    "nap": "At last they take a nap under a blanket.",
    "hug": "They say goodbye with a long hug.",
    "riddle": "Before bed they share a riddle.",
    "promise": "They make a promise to meet again.",
    "secret": "To this day it is their secret.",
}

OPENINGS = (
    "{hero} walks to the {place}.",
    "One day {hero} goes to the {place}.",
    "{hero} lives near the {place}.",
)
FINDS = (
    "There {she} finds a {thing}.",
    "{She} sees a {thing} and stops.",
    "Look, there is a {thing}!",
)
MEETINGS = (
    "Then the {friend} comes by.",
    "“What is it?” asks the {friend}.",
    "The {friend} wants to see it too.",
)
